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
        let missing: Vec<_> = [("etcd", &etcd), ("kube-apiserver", &kube_apiserver), ("loki", &loki)]
            .iter()
            .filter(|(_, path)| path.is_none())
            .map(|(name, _)| *name)
            .collect();
        if let (Some(etcd), Some(kube_apiserver), Some(loki)) = (&etcd, &kube_apiserver, &loki) {
            let (etcd, kube_apiserver, loki) = (etcd.clone(), kube_apiserver.clone(), loki.clone());
            return Ok(Some(Self { etcd, kube_apiserver, loki }));
        }
        let missing = missing.join(", ");
        let how = "build them once with `tests/servers/build` (needs Go), or set KUBEBUILDER_ASSETS and LOKI_BIN";
        anyhow::ensure!(
            std::env::var_os("REQUIRE_SERVERS").is_none_or(|value| value == "0"),
            "{test}: no {missing}; {how}"
        );
        super::say(&format!("SKIPPED {test}: no {missing}; {how}"));
        Ok(None)
    }
}

/// What `tests/servers/build` has built before.
fn built() -> BTreeMap<String, PathBuf> {
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
