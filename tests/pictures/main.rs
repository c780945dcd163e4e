//! Draws the pictures of the dashboards for docs/, from data of a real run.
//!
//! ```text
//! API server ── webhook injects three pods and more ── their sidecars ship what workload.rs writes ──► Loki
//! Prometheus scrapes the webhook and the sidecars
//! draw.mjs runs the dashboards' own queries on both, and draws the answers in a browser ──► docs/pictures/
//! ```
//!
//! Loki is killed for a while, so that the pictures show an outage. CONTRIBUTING.md says what this needs.

mod prometheus;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use harness::cluster::Cluster;
use harness::installation::Installation;
use harness::kubelet::Container;
use harness::loki::Loki;
use harness::process::Process;
use harness::programs::program;
use harness::servers::{Servers, loki};
use harness::{free_port, http, pod_fixture, repository, say};
use serde_json::{Value, json};

use crate::prometheus::{Prometheus, Target};
use crate::workload::Workload;

const NAMESPACE: &str = "redis-prod";
const LOG_DIR: &str = "/var/opt/redislabs/log";
const PATIENCE: Duration = Duration::from_secs(30);
/// The parts of the run at which Loki is killed and started again, in percent.
const OUTAGE: std::ops::Range<u64> = 45..60;

/// Draws the pictures of the dashboards from a real run.
#[derive(Debug, Parser)]
struct Args {
    /// How long the run takes, in minutes.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// The Prometheus server.
    #[arg(long, env = "PROMETHEUS_BIN")]
    prometheus: PathBuf,
    /// The folder for the pictures.
    #[arg(long, default_value_os_t = repository().join("docs/pictures"))]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let servers = Servers::find("pictures")?.context("the real servers are missing: run tests/servers/build")?;
    let loki = loki().context("a real Loki is missing: LOKI_BIN names one")?;
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::start(&servers).await?;
    let mut loki = Loki::start(&loki).await?;
    let webhook = Installation::start(&cluster, &loki.push_url()).await?;

    cluster.create_namespace(NAMESPACE, &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await?;
    let mut targets = vec![Target::webhook(&webhook.admin)];
    let mut sidecars = Vec::new();
    for name in ["rec-0", "rec-1", "rec-2"] {
        let sidecar = Sidecar::start(&cluster, name, dir.path()).await?;
        targets.push(Target::sidecar(&sidecar.address, NAMESPACE, name, "rec"));
        sidecars.push(sidecar);
    }
    let prometheus = Prometheus::start(&args.prometheus, &targets, dir.path()).await?;

    let from = jiff::Timestamp::now();
    let (start, length) = (Instant::now(), Duration::from_secs(args.minutes * 60));
    let mut down = false;
    let mut step = 0;
    while start.elapsed() < length {
        let percent = start.elapsed().as_secs() * 100 / length.as_secs();
        if OUTAGE.contains(&percent) != down {
            down = !down;
            say(if down { "Loki is killed" } else { "Loki starts again" });
            if down { loki.kill() } else { loki.restart().await? }
        }
        for sidecar in &mut sidecars {
            sidecar.workload.write(step)?;
        }
        create_pods(&cluster, step).await?;
        step += 1;
        // The pace of the run: one step a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    draw(&args.out, from, &loki.url, &prometheus.url)
}

/// A sidecar with its log directory.
struct Sidecar {
    address: String,
    workload: Workload,
    _process: Process,
}

impl Sidecar {
    /// Creates the pod, as the webhook injects it, and starts its container.
    async fn start(cluster: &Cluster, name: &str, dir: &Path) -> anyhow::Result<Self> {
        let pod = cluster.create_pod(NAMESPACE, &named("a-vanilla", name)?, false).await?;
        let root = dir.join(name);
        std::fs::create_dir_all(&root)?;
        let container = Container::new(&pod, "log-shipper", &root)?;
        container.make_volumes(cluster).await?;
        let logs = container.path(LOG_DIR);
        std::fs::create_dir_all(&logs)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let injected = container.command(&program("redis-log-shipper")?)?;
        let mut command = Command::new(injected.get_program());
        // All pods share the address of this machine, so each sidecar gets a port of its own.
        command.args(injected.get_args().filter(|arg| !arg.to_string_lossy().starts_with("--listen=")));
        command.arg(format!("--listen={address}"));
        command.envs(injected.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut process = Process::start(name, &command, &root)?;
        let (client, metrics) = (http::client(None)?, format!("http://{address}/metrics"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &metrics).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        Ok(Self { address, workload: Workload::new(&logs)?, _process: process })
    }
}

fn named(fixture: &str, name: &str) -> anyhow::Result<Value> {
    let mut pod = pod_fixture(fixture)?;
    *pod.pointer_mut("/metadata/name").context("a pod without a name")? = json!(name);
    Ok(pod)
}

/// Creates more pods, some of which the webhook leaves alone.
async fn create_pods(cluster: &Cluster, step: u64) -> anyhow::Result<()> {
    if step.is_multiple_of(3) {
        cluster.create_pod(NAMESPACE, &named("a-vanilla", &format!("rec-{}", 100 + step))?, false).await?;
    }
    if step.is_multiple_of(20) {
        cluster.create_pod(NAMESPACE, &named("c-ephemeral", &format!("rec-{}", 1_000 + step))?, false).await?;
    }
    Ok(())
}

/// Runs the queries and draws the answers.
fn draw(out: &Path, from: jiff::Timestamp, loki: &str, prometheus: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    let here = repository().join("tests/pictures");
    let mut command = Command::new("node");
    command.arg(here.join("draw.mjs")).arg(repository().join("manifests/components/dashboards")).arg(out);
    command.args([loki, prometheus, &from.as_second().to_string(), &jiff::Timestamp::now().as_second().to_string()]);
    let status = command.status().context("failed to start node")?;
    ensure!(status.success(), "draw.mjs failed: {status}");
    Ok(())
}
