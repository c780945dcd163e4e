//! A real Prometheus that scrapes the programs of the run.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::process::Process;
use harness::{free_port, http};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// A program with metrics, and the labels that a `PodMonitor` or `ServiceMonitor` gives it.
#[derive(Debug)]
pub(crate) struct Target {
    job: &'static str,
    address: String,
    labels: Value,
}

impl Target {
    pub(crate) fn webhook(address: &str) -> Self {
        Self { job: "redis-log-webhook", address: address.to_owned(), labels: json!({}) }
    }

    pub(crate) fn sidecar(address: &str, namespace: &str, pod: &str, cluster: &str) -> Self {
        let labels = json!({"namespace": namespace, "pod": pod, "redis_cluster": cluster});
        Self { job: "redis-log-shipper", address: address.to_owned(), labels }
    }
}

/// A running Prometheus.
#[derive(Debug)]
pub(crate) struct Prometheus {
    pub(crate) url: String,
    _process: Process,
}

impl Prometheus {
    pub(crate) async fn start(binary: &Path, targets: &[Target], dir: &Path) -> anyhow::Result<Self> {
        let jobs: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(number, target)| {
                let targets = [json!({"targets": [target.address], "labels": target.labels})];
                // The name must be unique. The label is the one of the manifests.
                let job = [json!({"target_label": "job", "replacement": target.job})];
                json!({"job_name": format!("{number}"), "static_configs": targets, "relabel_configs": job})
            })
            .collect();
        let config = json!({"global": {"scrape_interval": "5s"}, "scrape_configs": jobs});
        let file = dir.join("prometheus.json");
        std::fs::write(&file, config.to_string())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("prometheus", &command, dir)?;
        let url = format!("http://{address}");
        let (client, ready) = (http::client(None)?, format!("{url}/-/ready"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &ready).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        Ok(Self { url, _process: process })
    }
}
