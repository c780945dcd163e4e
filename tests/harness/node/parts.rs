//! Finds the programs of a node, and checks its privileges.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::{built, skip, skip_for};

/// The Debian packages with the programs that `tests/servers/build` does not build.
const PACKAGES: &str = "containerd runc containernetworking-plugins nftables conntrack iproute2 e2fsprogs busybox-static logrotate \
                        redis-server";
const COMMANDS: [&str; 15] = [
    "containerd",
    "runc",
    "ctr",
    "nft",
    "conntrack",
    "ip",
    "mkfs.ext4",
    "unshare",
    "nsenter",
    "setpriv",
    "busybox",
    "bash",
    "logrotate",
    "redis-server",
    "redis-cli",
];
/// Debian's directory of network plug-ins.
pub(super) const PLUGINS: &str = "/usr/lib/cni";
/// Succeeds if this process has the privileges of a node.
const PRIVILEGES: &str = "mount -t tmpfs probe /run && ip link add probe0 type veth peer name probe1 && losetup --find && \
                          for folder in /sys/fs/cgroup/*/ /sys/fs/cgroup/; do \
                          mkdir $folder/redis-log-shipper-probe 2>/dev/null && rmdir $folder/redis-log-shipper-probe && exit 0; \
                          done; echo no writable cgroups >&2; exit 1";

/// The programs of a node.
#[derive(Clone, Debug)]
pub struct Parts {
    pub(super) etcd: PathBuf,
    pub(super) kube_apiserver: PathBuf,
    pub(super) kube_controller_manager: PathBuf,
    pub(super) kube_scheduler: PathBuf,
    pub(super) kubelet: PathBuf,
    pub(super) kube_proxy: PathBuf,
    /// What users type.
    pub kubectl: PathBuf,
    /// Renders the manifests.
    pub kustomize: PathBuf,
    /// Stores logs.
    pub victoria_logs: PathBuf,
    /// Stores logs as well, if there is one.
    pub loki: Option<PathBuf>,
}

impl Parts {
    /// The programs. If one or a privilege is missing, prints that and returns `None`.
    ///
    /// With `REQUIRE_SERVERS=1` that is an error.
    pub fn find(test: &str) -> anyhow::Result<Option<Self>> {
        let mut built = built();
        let loki = built.remove("loki");
        let mut missing = Vec::new();
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let mut find = |name: &'static str| {
            let from_assets = assets.as_ref().map(|dir| dir.join(name)).filter(|path| path.is_file());
            let path = from_assets.or_else(|| built.get(name).cloned());
            if path.is_none() {
                missing.push(name);
            }
            path.unwrap_or_default()
        };
        let parts = Self {
            etcd: find("etcd"),
            kube_apiserver: find("kube-apiserver"),
            kube_controller_manager: find("kube-controller-manager"),
            kube_scheduler: find("kube-scheduler"),
            kubelet: find("kubelet"),
            kube_proxy: find("kube-proxy"),
            kubectl: find("kubectl"),
            kustomize: find("kustomize"),
            victoria_logs: find("victoria-logs"),
            loki,
        };
        if !missing.is_empty() {
            skip(test, &missing)?;
            return Ok(None);
        }
        let commands = COMMANDS.into_iter().filter(|command| !is_command(command));
        let plugins = ["bridge", "host-local"].into_iter().filter(|name| !Path::new(PLUGINS).join(name).is_file());
        let missing: Vec<_> = commands.chain(plugins).collect();
        if !missing.is_empty() {
            let how = format!("install them once with `apt-get install {PACKAGES}`");
            skip_for(test, &format!("no {}", missing.join(", ")), &how)?;
            return Ok(None);
        }
        if let Some(refusal) = refusal() {
            let why = format!("a node may not run here ({refusal})");
            skip_for(test, &why, "it needs root, and mounts, namespaces, veth devices, loop devices and cgroups")?;
            return Ok(None);
        }
        Ok(Some(parts))
    }
}

fn is_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// Why this process may not run a node.
fn refusal() -> Option<String> {
    let mut probe = Command::new("unshare");
    probe.args(["--pid", "--fork", "--mount", "--mount-proc", "--net", "--ipc", "--uts", "bash", "-c", PRIVILEGES]);
    match probe.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
        Err(error) => Some(error.to_string()),
    }
}
