//! Where the real servers are: named by the environment, or built by `tests/servers/build`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

/// The real servers' binaries.
#[derive(Clone, Debug)]
pub struct Servers {
    /// etcd.
    pub etcd: PathBuf,
    /// The Kubernetes API server.
    pub kube_apiserver: PathBuf,
    /// Renders the manifests.
    pub kustomize: PathBuf,
    /// VictoriaLogs, a store that takes Loki's pushes.
    pub victoria_logs: PathBuf,
    /// OpenShift Logging's gateway.
    pub gateway: PathBuf,
}

impl Servers {
    /// The servers, or `None` where one is missing: then one line says what is skipped and how to get it.
    ///
    /// With `REQUIRE_SERVERS=1` a missing server is a failure.
    pub fn find(test: &str) -> anyhow::Result<Option<Self>> {
        let built = built();
        let from_assets = |name: &str| {
            let dir = std::env::var_os("KUBEBUILDER_ASSETS")?;
            Some(PathBuf::from(dir).join(name))
        };
        let find = |name: &str, named: Option<PathBuf>| {
            named.or_else(|| built.get(name).cloned()).filter(|path| path.is_file())
        };
        let etcd = find("etcd", from_assets("etcd"));
        let kube_apiserver = find("kube-apiserver", from_assets("kube-apiserver"));
        let kustomize = find("kustomize", None);
        let victoria_logs = find("victoria-logs", None);
        let gateway = find("gateway", None);
        let all = [
            ("etcd", &etcd),
            ("kube-apiserver", &kube_apiserver),
            ("kustomize", &kustomize),
            ("victoria-logs", &victoria_logs),
            ("gateway", &gateway),
        ];
        let missing: Vec<_> = all.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
        if let (Some(etcd), Some(kube_apiserver), Some(kustomize), Some(victoria_logs), Some(gateway)) =
            (etcd, kube_apiserver, kustomize, victoria_logs, gateway)
        {
            return Ok(Some(Self { etcd, kube_apiserver, kustomize, victoria_logs, gateway }));
        }
        skip(test, &missing)?;
        Ok(None)
    }
}

/// A real Loki, which is never built here: the one that `LOKI_BIN` names, or the file `redis-log-shipper/loki` in the user's
/// cache directory.
///
/// Where there is none, the first test that asks prints one line for all tests of its binary that are skipped, and the test
/// passes, also with `REQUIRE_SERVERS=1`. The names of tests that ask contain [`ON_LOKI`].
pub fn loki() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let loki = built().remove("loki").filter(|path| path.is_file());
    if loki.is_none() {
        TOLD.call_once(say_that_loki_is_missing);
    }
    loki
}

/// What the names of tests that need a real Loki contain.
pub const ON_LOKI: &str = "on_loki";

/// Counts the tests that are about to be skipped: those of this binary, chosen by the same arguments.
fn say_that_loki_is_missing() {
    let list = || {
        let output = Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg("--list").output()?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let names = list().unwrap_or_default();
    let count = names.lines().filter(|line| line.ends_with(": test") && line.contains(ON_LOKI)).count();
    super::say(&format!(
        "SKIPPED for want of Loki: {count} (name a Loki with LOKI_BIN, or put one at redis-log-shipper/loki in the user's cache directory)"
    ));
}

/// What only the tests of the installation need.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Makes the pods of a StatefulSet, among much else.
    pub kube_controller_manager: PathBuf,
    /// Renders the manifests; also where no server is wanted.
    pub kustomize: PathBuf,
    /// Checks alerts and dashboards; see `tests/servers/monitoring`.
    pub monitoring: PathBuf,
    /// Folders of custom resource definitions, from the modules that cert-manager and the Prometheus operator released.
    pub crds: Vec<PathBuf>,
}

impl Tools {
    /// The tools, or `None` where one is missing, as [`Servers::find`].
    pub fn find(test: &str) -> anyhow::Result<Option<Self>> {
        const NAMES: [&str; 5] =
            ["kube-controller-manager", "kustomize", "monitoring", "cert-manager-crds", "prometheus-operator-crds"];
        let built = built();
        let missing: Vec<_> = NAMES.into_iter().filter(|name| !built.contains_key(*name)).collect();
        let mut found = NAMES.into_iter().filter_map(|name| built.get(name).cloned());
        let tools = (found.next(), found.next(), found.next(), found.collect::<Vec<_>>());
        match tools {
            (Some(kube_controller_manager), Some(kustomize), Some(monitoring), crds) if missing.is_empty() => {
                Ok(Some(Self { kube_controller_manager, kustomize, monitoring, crds }))
            }
            _ => {
                skip(test, &missing)?;
                Ok(None)
            }
        }
    }
}

/// Says that `test` is skipped for want of servers; an error where `REQUIRE_SERVERS` is set.
pub(crate) fn skip(test: &str, missing: &[&str]) -> anyhow::Result<()> {
    skip_for(test, &format!("no {}", missing.join(", ")), "build them once with `tests/servers/build` (needs Go)")
}

/// Says why `test` is skipped and how to change that; an error where `REQUIRE_SERVERS` is set.
pub(crate) fn skip_for(test: &str, why: &str, how: &str) -> anyhow::Result<()> {
    anyhow::ensure!(std::env::var_os("REQUIRE_SERVERS").is_none_or(|value| value == "0"), "{test}: {why}; {how}");
    super::say(&format!("SKIPPED {test}: {why}; {how}"));
    Ok(())
}

/// What `tests/servers/build` has built before.
pub(crate) fn built() -> BTreeMap<String, PathBuf> {
    let script = super::repository().join("tests/servers/build");
    let Ok(output) = Command::new("bash").arg(script).arg("--where").output() else {
        return BTreeMap::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .collect()
}
