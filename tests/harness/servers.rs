//! Finds the real servers: the environment names them, or `tests/servers/build` built them.

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
    /// VictoriaLogs, a store that accepts Loki's pushes.
    pub victoria_logs: PathBuf,
    /// OpenShift Logging's gateway.
    pub gateway: PathBuf,
}

impl Servers {
    /// The servers. If one is missing, prints what is skipped and how to get it, and returns `None`.
    ///
    /// With `REQUIRE_SERVERS=1` a missing server is an error.
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

/// A real Loki, which this project never builds: `LOKI_BIN` names it, or it is the file `redis-log-shipper/loki` in the user's
/// cache directory.
///
/// Without one the first test prints how many tests of its program are skipped, and all of them pass, also with
/// `REQUIRE_SERVERS=1`. The names of these tests contain [`ON_LOKI`].
pub fn loki() -> Option<PathBuf> {
    static TOLD: Once = Once::new();
    let loki = built().remove("loki").filter(|path| path.is_file());
    if loki.is_none() {
        TOLD.call_once(say_that_loki_is_missing);
    }
    loki
}

/// Part of the name of each test that needs a real Loki.
pub const ON_LOKI: &str = "on_loki";

/// Counts the tests that will be skipped: those of this program that the same arguments select.
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

/// The tools that only the tests of the installation need.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Creates the pods of a StatefulSet, among other things.
    pub kube_controller_manager: PathBuf,
    /// Renders the manifests, also for tests without a server.
    pub kustomize: PathBuf,
    /// Checks alerts and dashboards; see `tests/servers/monitoring`.
    pub monitoring: PathBuf,
    /// Folders of custom resource definitions, from the modules that cert-manager and the Prometheus operator released.
    pub crds: Vec<PathBuf>,
}

impl Tools {
    /// The tools, or `None`, as [`Servers::find`].
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

/// Prints that `test` is skipped because servers are missing. An error if `REQUIRE_SERVERS` is set.
pub(crate) fn skip(test: &str, missing: &[&str]) -> anyhow::Result<()> {
    skip_for(test, &format!("no {}", missing.join(", ")), "build them once with `tests/servers/build` (needs Go)")
}

/// Prints why `test` is skipped and how to change that. An error if `REQUIRE_SERVERS` is set.
pub(crate) fn skip_for(test: &str, why: &str, how: &str) -> anyhow::Result<()> {
    anyhow::ensure!(std::env::var_os("REQUIRE_SERVERS").is_none_or(|value| value == "0"), "{test}: {why}; {how}");
    super::say(&format!("SKIPPED {test}: {why}; {how}"));
    Ok(())
}

/// What `tests/servers/build` has built, by name.
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
