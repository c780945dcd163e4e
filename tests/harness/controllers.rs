//! A real kube-controller-manager that runs only some controllers. It creates the pods of a Redis Enterprise cluster, or of the
//! webhook.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::free_port;
use crate::process::Process;
use crate::servers::Tools;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running controller manager.
#[derive(Debug)]
pub struct Controllers {
    _process: Process,
    _dir: TempDir,
}

impl Controllers {
    /// Starts the controller of StatefulSets and waits until it works.
    pub async fn start(tools: &Tools, cluster: &Cluster) -> anyhow::Result<Self> {
        Self::start_only(tools, cluster, &["statefulset-controller"]).await
    }

    /// Starts these controllers and waits until they work.
    pub async fn start_only(tools: &Tools, cluster: &Cluster, names: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(&tools.kube_controller_manager);
        command
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .arg(format!("--controllers={}", names.join(",")))
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .args([format!("--secure-port={port}"), format!("--cert-dir={}", dir.path().display())]);
        let mut process = Process::start("kube-controller-manager", &command, dir.path())?;
        let log = dir.path().join("kube-controller-manager.log");
        let is_started = || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let synced = log.lines().filter(|line| line.contains("Caches are synced") && line.contains("controller="));
            let synced = synced.count();
            async move { synced >= names.len() }
        };
        process.wait_until(PATIENCE, is_started).await?;
        Ok(Self { _process: process, _dir: dir })
    }
}

/// A StatefulSet that creates pods like `pod`, with a claim for their log volume.
pub fn stateful_set_of(pod: &Value, namespace: &str, replicas: u32) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        // Each pod gets its own.
        for own in ["hostname", "subdomain", "nodeName"] {
            spec.remove(own);
        }
        if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
            volumes.retain(|volume| volume.get("persistentVolumeClaim").is_none());
        }
    }
    let labels = json!({"app": "redis-enterprise", "redis.io/cluster": "rec", "redis.io/role": "node"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "rec", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "serviceName": "rec",
            // Nothing makes a pod Ready here, and an ordered StatefulSet would wait for that.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            "volumeClaimTemplates": [{
                "metadata": {"name": "redis-enterprise-storage"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    })
}
