//! The webhook as a cluster runs it: the real binary, behind the configuration that the manifests register.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use certs::Authority;
use harness::cluster::Cluster;
use harness::process::{Process, eventually};
use harness::programs::program;
use harness::{free_port, http, pod_fixture, read_object, repository};
use serde_json::json;
use tempfile::TempDir;

const LIFETIME: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_secs(30);

/// A webhook that the API server calls.
pub(crate) struct Installation {
    _process: Process,
    _dir: TempDir,
}

impl Installation {
    /// Starts the webhook on loopback and registers it.
    pub(crate) async fn start(cluster: &Cluster, loki_url: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let ca = Authority::new("test webhook CA", LIFETIME)?;
        let pair = ca.serving(&["localhost"], LIFETIME)?;
        std::fs::write(dir.path().join(certs::CERT_FILE), pair.cert)?;
        std::fs::write(dir.path().join(certs::KEY_FILE), pair.key)?;
        let config = dir.path().join("config.yaml");
        std::fs::write(&config, format!("lokiUrl: {loki_url}\n"))?;
        let (port, admin_port) = (free_port()?, free_port()?);
        let mut command = Command::new(program("redis-log-webhook")?);
        command
            .arg("serve")
            .args(["--config".as_ref(), config.as_os_str(), "--cert-dir".as_ref(), dir.path().as_os_str()])
            .env("KUBECONFIG", &cluster.kubeconfig)
            .args([format!("--listen=127.0.0.1:{port}"), format!("--admin-listen=127.0.0.1:{admin_port}")]);
        let mut process = Process::start("redis-log-webhook", &command, dir.path())?;
        let (client, ready) = (http::client(None)?, format!("http://127.0.0.1:{admin_port}/ready"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &ready).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        register(cluster, port, ca.cert()).await?;
        Ok(Self { _process: process, _dir: dir })
    }
}

/// Applies the manifests' webhook configuration with the service replaced by the loopback URL, and waits until the API
/// server has taken notice.
async fn register(cluster: &Cluster, port: u16, ca: &str) -> anyhow::Result<()> {
    let mut configuration = read_object(&repository().join("manifests/base/webhook-configuration.yaml"))?;
    let client_config = configuration.pointer_mut("/webhooks/0/clientConfig").context("no clientConfig")?;
    let bundle = base64::engine::general_purpose::STANDARD.encode(ca);
    *client_config = json!({"url": format!("https://localhost:{port}/mutate"), "caBundle": bundle});
    cluster.apply(&configuration).await?;
    cluster.create_namespace("canary", &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await?;
    let pod = pod_fixture("a-vanilla")?;
    eventually("the API server calls the webhook", PATIENCE, || async {
        let pod = cluster.create_pod("canary", &pod, true).await?;
        let annotated = pod.pointer("/metadata/annotations/redis-log-shipper.io~1status").is_some();
        Ok(annotated.then_some(()))
    })
    .await
}
