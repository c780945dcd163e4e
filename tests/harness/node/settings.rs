//! Writes a node's certificates, and the options and configuration of each program, as files in its directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::{Authority, PemPair};
use serde_json::{Value, json};

use super::parts::{PLUGINS, Parts};
use super::{ADDRESS, API_PORT, NODE, images};

const LIFETIME: Duration = Duration::from_hours(24);
const PODS: &str = "10.244.0.0/24";
const SERVICES: &str = "10.96.0.0/16";
const API_SERVICE: &str = "10.96.0.1";

/// Writes the files that the node's `boot` reads, and returns the administrator's kubeconfig.
pub(super) fn write(dir: &Path, parts: &Parts) -> anyhow::Result<PathBuf> {
    let settings = Settings { dir, ca: Authority::new("test node", LIFETIME)? };
    settings.programs(parts)?;
    settings.file("ca.crt", settings.ca.cert())?;
    let admin = settings.user("admin", "admin", "system:masters")?;
    settings.control_plane()?;
    settings.node()?;
    Ok(admin)
}

struct Settings<'a> {
    dir: &'a Path,
    ca: Authority,
}

impl Settings<'_> {
    fn programs(&self, parts: &Parts) -> anyhow::Result<()> {
        let programs = [
            ("ETCD", &parts.etcd),
            ("KUBE_APISERVER", &parts.kube_apiserver),
            ("KUBE_CONTROLLER_MANAGER", &parts.kube_controller_manager),
            ("KUBE_SCHEDULER", &parts.kube_scheduler),
            ("KUBELET", &parts.kubelet),
            ("KUBE_PROXY", &parts.kube_proxy),
        ];
        let lines = programs.map(|(name, path)| format!("{name}='{}'\n", path.display()));
        self.file("programs", &lines.concat())?;
        Ok(())
    }

    fn control_plane(&self) -> anyhow::Result<()> {
        let etcd = "http://127.0.0.1:2379";
        let peer = "http://127.0.0.1:2380";
        self.options(
            "etcd",
            &[
                "--unsafe-no-fsync".to_owned(),
                "--name=node".to_owned(),
                format!("--data-dir={}", self.path("etcd-data")),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=node={peer}"),
            ],
        )?;
        let serving = self.ca.serving(&[ADDRESS, API_SERVICE, "127.0.0.1", "kubernetes.default.svc"], LIFETIME)?;
        self.pair("apiserver", &serving)?;
        self.pair("apiserver-kubelet", &self.ca.client("apiserver-kubelet", "system:masters", LIFETIME)?)?;
        // A separate key signs tokens. The certificate only carries its public half.
        self.pair("service-accounts", &self.ca.serving(&["service-accounts"], LIFETIME)?)?;
        self.options(
            "kube-apiserver",
            &[
                format!("--etcd-servers={etcd}"),
                format!("--advertise-address={ADDRESS}"),
                format!("--secure-port={API_PORT}"),
                format!("--cert-dir={}", self.path("apiserver-certs")),
                format!("--tls-cert-file={}", self.path("apiserver.crt")),
                format!("--tls-private-key-file={}", self.path("apiserver.key")),
                format!("--client-ca-file={}", self.path("ca.crt")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", self.path("service-accounts.crt")),
                format!("--service-account-signing-key-file={}", self.path("service-accounts.key")),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                format!("--service-cluster-ip-range={SERVICES}"),
                "--allow-privileged=true".to_owned(),
                format!("--kubelet-client-certificate={}", self.path("apiserver-kubelet.crt")),
                format!("--kubelet-client-key={}", self.path("apiserver-kubelet.key")),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ],
        )?;
        let user = self.user("controller-manager", "system:kube-controller-manager", "system:control-plane")?;
        self.options(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", user.display()),
                "--leader-elect=false".to_owned(),
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", self.path("service-accounts.key")),
                format!("--root-ca-file={}", self.path("ca.crt")),
                format!("--cert-dir={}", self.path("controller-manager-certs")),
            ],
        )?;
        let user = self.user("scheduler", "system:kube-scheduler", "system:control-plane")?;
        self.options(
            "kube-scheduler",
            &[
                format!("--kubeconfig={}", user.display()),
                "--leader-elect=false".to_owned(),
                format!("--cert-dir={}", self.path("scheduler-certs")),
            ],
        )
    }

    fn node(&self) -> anyhow::Result<()> {
        self.file("containerd.toml", &format!(
            r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{}"
"#,
            images::PAUSE,
            self.path("cni"),
        ))?;
        std::fs::create_dir_all(self.dir.join("cni"))?;
        self.file(
            "cni/node.conflist",
            &json!({
                "cniVersion": "0.4.0",
                "name": "node",
                "plugins": [{
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "hairpinMode": true,
                    "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
                }],
            })
            .to_string(),
        )?;
        self.file("kubelet.json", &self.kubelet().to_string())?;
        let user = self.user("kubelet", &format!("system:node:{NODE}"), "system:nodes")?;
        self.options(
            "kubelet",
            &[
                format!("--config={}", self.path("kubelet.json")),
                format!("--kubeconfig={}", user.display()),
                format!("--hostname-override={NODE}"),
                format!("--node-ip={ADDRESS}"),
            ],
        )?;
        let user = self.user("proxy", "system:kube-proxy", "system:node-proxier")?;
        self.file(
            "proxy.json",
            &json!({
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "nftables",
                "clientConnection": {"kubeconfig": user},
                "hostnameOverride": NODE,
                "clusterCIDR": PODS,
                // A pod may reach itself or its neighbour on the bridge by a Service.
                "nftables": {"masqueradeAll": true, "minSyncPeriod": "100ms"},
                // Leave the machine's own limits alone.
                "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            })
            .to_string(),
        )?;
        self.options("kube-proxy", &[format!("--config={}", self.path("proxy.json"))])
    }

    fn kubelet(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.path("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": "/redis-log-shipper-node",
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "resolvConf": "",
            "registerNode": true,
            "serializeImagePulls": false,
            // The node shares this machine's disk and memory.
            "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi", "nodefs.inodesFree": "1"},
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": true,
            // A changed ConfigMap reaches its volume when the kubelet syncs the pod.
            "syncFrequency": "5s",
            "volumeStatsAggPeriod": "-1s",
            "healthzPort": 0,
            // Leave the rest of the machine's two cores to other programs.
            "maxPods": 100,
        })
    }

    fn user(&self, file: &str, name: &str, group: &str) -> anyhow::Result<PathBuf> {
        self.pair(file, &self.ca.client(name, group, LIFETIME)?)?;
        let user = json!({
            "client-certificate": self.path(&format!("{file}.crt")),
            "client-key": self.path(&format!("{file}.key")),
        });
        let config =
            crate::cluster::kubeconfig_text(&format!("https://{ADDRESS}:{API_PORT}"), &self.path("ca.crt"), &user);
        self.file(&format!("{file}.kubeconfig"), &config)
    }

    fn pair(&self, name: &str, pair: &PemPair) -> anyhow::Result<()> {
        self.file(&format!("{name}.crt"), &pair.cert)?;
        self.file(&format!("{name}.key"), &pair.key)?;
        Ok(())
    }

    fn options(&self, name: &str, options: &[String]) -> anyhow::Result<()> {
        self.file(&format!("{name}.options"), &(options.join("\n") + "\n"))?;
        Ok(())
    }

    fn file(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
