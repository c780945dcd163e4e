//! Where the real servers are: named by the environment, or built by `tests/servers/build`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The real servers' binaries.
#[derive(Clone, Debug)]
pub struct Servers {
    /// etcd.
    pub etcd: PathBuf,
    /// The Kubernetes API server.
    pub kube_apiserver: PathBuf,
    /// Loki.
    pub loki: PathBuf,
    /// Renders the manifests.
    pub kustomize: PathBuf,
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
        let loki = find("loki", std::env::var_os("LOKI_BIN").map(PathBuf::from));
        let kustomize = find("kustomize", None);
        let all = [("etcd", &etcd), ("kube-apiserver", &kube_apiserver), ("loki", &loki), ("kustomize", &kustomize)];
        let missing: Vec<_> = all.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
        if let (Some(etcd), Some(kube_apiserver), Some(loki), Some(kustomize)) = (etcd, kube_apiserver, loki, kustomize)
        {
            return Ok(Some(Self { etcd, kube_apiserver, loki, kustomize }));
        }
        skip(test, &missing)?;
        Ok(None)
    }
}

/// What only the tests of the installation need.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Makes the pods of a StatefulSet, among much else.
    pub kube_controller_manager: PathBuf,
    /// Renders the manifests; also where no server is wanted.
    pub kustomize: PathBuf,
    /// Checks Prometheus rules; see `tests/servers/rules`.
    pub rules: PathBuf,
    /// Folders of custom resource definitions, from the modules that cert-manager and the Prometheus operator released.
    pub crds: Vec<PathBuf>,
}

impl Tools {
    /// The tools, or `None` where one is missing, as [`Servers::find`].
    pub fn find(test: &str) -> anyhow::Result<Option<Self>> {
        const NAMES: [&str; 5] =
            ["kube-controller-manager", "kustomize", "rules", "cert-manager-crds", "prometheus-operator-crds"];
        let built = built();
        let missing: Vec<_> = NAMES.into_iter().filter(|name| !built.contains_key(*name)).collect();
        let mut found = NAMES.into_iter().filter_map(|name| built.get(name).cloned());
        let tools = (found.next(), found.next(), found.next(), found.collect::<Vec<_>>());
        match tools {
            (Some(kube_controller_manager), Some(kustomize), Some(rules), crds) if missing.is_empty() => {
                Ok(Some(Self { kube_controller_manager, kustomize, rules, crds }))
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
