//! A whole Kubernetes node: control plane, kubelet, kube-proxy and containerd, in namespaces of their own on this machine.
//!
//! It has no registry and no route to the outside: images are built here, and traffic stays on the node's own addresses. When
//! this process ends, even by SIGKILL, the node ends and its files are removed; see `node/keep` and `node/boot`.

mod images;
mod parts;
mod settings;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::Api;
use serde_json::{Value, json};

pub use parts::Parts;

use crate::cluster::Cluster;
use crate::process::eventually;

/// The node's name.
pub const NODE: &str = "node-1";
/// The node's address, for this machine and for the pods.
pub const ADDRESS: &str = "10.99.0.2";
/// This machine's address, for the pods.
pub const OUTSIDE: &str = "10.99.0.1";
const API_PORT: u16 = 6443;
const PATIENCE: Duration = Duration::from_mins(1);
const VOLUMES: u32 = 32;
const VOLUME_FILE_BYTES: u64 = 4 << 30;

/// A running node. It ends when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    dir: PathBuf,
    kubectl: PathBuf,
    keeper: Child,
}

impl Node {
    /// Starts the node with our image from the archive `ours`, and with images named `workload` in place of Redis Enterprise's.
    pub async fn start(parts: &Parts, ours: &Path, workload: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("node-").tempdir()?.keep();
        let kubeconfig = settings::write(&dir, parts)?;
        let archives = dir.join("images");
        std::fs::create_dir(&archives)?;
        images::write_pause(&archives)?;
        images::write_workload(&archives, workload)?;
        std::fs::copy(ours, archives.join("ours.tar")).with_context(|| format!("failed to copy {}", ours.display()))?;
        make_volumes(&dir)?;
        let keeper = Command::new("setsid")
            .arg("bash")
            .arg(crate::repository().join("tests/harness/node/keep"))
            .arg(&dir)
            .arg(crate::repository().join("target/e2e-logs/node"))
            .stdin(Stdio::piped())
            .spawn()
            .context("failed to start the node's keeper")?;
        let node = Self { kubeconfig, dir, kubectl: parts.kubectl.clone(), keeper };
        node.wait_until_ready().await?;
        node.make_persistent_volumes()?;
        Ok(node)
    }

    /// The node's API server, with a client of the current runtime.
    pub async fn cluster(&self) -> anyhow::Result<Cluster> {
        let ca = std::fs::read_to_string(self.dir.join("ca.crt"))?;
        Cluster::of(&format!("https://{ADDRESS}:{API_PORT}"), &self.kubeconfig, ca).await
    }

    /// What `kubectl ARGS` prints, run in `folder`.
    pub fn kubectl_in(&self, folder: &Path, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.kubectl);
        let output = command.args(args).current_dir(folder).env("KUBECONFIG", &self.kubeconfig).output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {out}{err}", args.join(" "));
        Ok(out.into_owned())
    }

    /// What `kubectl ARGS` prints.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.kubectl_in(&self.dir, args)
    }

    /// A directory that is removed with the node.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.dir.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A path of the node, as seen from this machine.
    pub fn path(&self, path: &str) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.pid()?)).join(path.trim_start_matches('/')))
    }

    /// The content of a persistent volume, as seen from this machine.
    pub fn volume(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.path(&self.dir.join("volumes").join(name).display().to_string())
    }

    /// Ends the node as a power failure does, and starts it again on the same disk.
    pub async fn reboot(&mut self) -> anyhow::Result<()> {
        let before = self.pid()?;
        writeln!(self.keeper.stdin.as_mut().context("the keeper's input is closed")?, "reboot")?;
        eventually("the node starts again", PATIENCE, || async { Ok(self.pid().ok().filter(|pid| *pid != before)) })
            .await?;
        self.wait_until_ready().await
    }

    fn pid(&self) -> anyhow::Result<u32> {
        Ok(std::fs::read_to_string(self.dir.join("pid"))?.trim().parse()?)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let client = self.cluster().await?.client;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
        // After a reboot the node is still shown as Ready for a while. Only the new boot counts.
        let what = format!("the node is Ready; its logs are in {}", self.dir.display());
        eventually(&what, PATIENCE, || async {
            ensure!(
                self.pid().is_err() || self.path("/")?.exists(),
                "the node ended; see {}",
                self.dir.join("boot.log").display()
            );
            let Ok(Ok(boot)) = self.path("/run/boot_id").map(std::fs::read_to_string) else { return Ok(None) };
            let Ok(node) = nodes.get(NODE).await else { return Ok(None) };
            let node = serde_json::to_value(node)?;
            let is_this_boot = node.pointer("/status/nodeInfo/bootID").and_then(Value::as_str) == Some(boot.trim());
            let conditions = node.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let is_ready = conditions.iter().any(|condition| {
                condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
            });
            Ok((is_this_boot && is_ready).then_some(()))
        })
        .await
    }

    fn make_persistent_volumes(&self) -> anyhow::Result<()> {
        let mut objects = vec![json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        })];
        for number in 0..VOLUMES {
            let name = format!("volume-{number}");
            std::fs::create_dir_all(self.volume(&name)?)?;
            let on_this_node =
                json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}]);
            objects.push(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "local",
                    // The kubelet applies fsGroup to this kind, unlike to hostPath.
                    "local": {"path": self.dir.join("volumes").join(&name)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": on_this_node}},
                },
            }));
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.dir.join("volumes.json");
        std::fs::write(&file, list.to_string())?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The keeper ends when its standard input closes, and the node with it.
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("failed to end the node: {error}");
        }
    }
}

/// Creates the file system of the node's volumes, for a loop device.
fn make_volumes(dir: &Path) -> anyhow::Result<()> {
    let file = dir.join("volumes.ext4");
    std::fs::File::create(&file)?.set_len(VOLUME_FILE_BYTES)?;
    let output = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file).output()?;
    ensure!(output.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
