//! Measures the cost of shipping as a multiple of the lower bound.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use harness::process::eventually;
use harness::programs::program;
use harness::{free_port, http};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::logs::Logs;
use crate::sink::Sink;
use crate::usage::Usage;
use crate::{bound, logs, report};

const PATIENCE: Duration = Duration::from_mins(10);

/// The flags of `shipper`.
#[derive(clap::Args, Debug)]
pub(crate) struct Load {
    /// MiB of logs, in 17 files.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// How often to measure both, one after the other.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of idle time to measure in the end.
    #[arg(long, default_value_t = 20)]
    idle: u64,
}

pub(crate) async fn run(load: &Load) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let logs = logs::write(dir.path(), load.mib << 20)?;
    let mib = mib(logs.bytes);
    report::print(&format!(
        "{mib:.0} MiB in 17 files, {} entries, {} bytes each",
        logs.entries,
        logs.bytes / logs.entries
    ));
    let (mut shares, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=load.rounds {
        let path = dir.path().to_owned();
        let least = tokio::task::spawn_blocking(move || bound::run(&path)).await??;
        // The same without redaction, in the same minute.
        let mut plain = Shipper::start(dir.path(), "off").await?;
        plain.wait_for(&logs).await?;
        let without = plain.usage()?;
        drop(plain);
        let mut shipper = Shipper::start(dir.path(), "on").await?;
        let started = Instant::now();
        shipper.wait_for(&logs).await?;
        let (took, usage) = (started.elapsed(), shipper.usage()?);
        let cost = usage.cpu.as_secs_f64() / without.cpu.as_secs_f64() - 1.0;
        costs.push(cost);
        let share = least.as_secs_f64() / usage.cpu.as_secs_f64();
        shares.push(share);
        report::print(&format!(
            "round {round}: bound {:.0} MiB per CPU second; shipper {:.0} MiB per CPU second ({:.2} s CPU per GiB, {:.1} s in all), \
             {:.1} % of the bound; peak {:.1} MiB",
            mib / least.as_secs_f64(),
            mib / usage.cpu.as_secs_f64(),
            usage.cpu.as_secs_f64() * 1024.0 / mib,
            took.as_secs_f64(),
            100.0 * share,
            as_mib(usage.peak_kib),
        ));
        report::print(&format!(
            "round {round}: without redaction {:.2} s CPU per GiB, peak {:.1} MiB; redaction takes {:.1} % more CPU",
            without.cpu.as_secs_f64() * 1024.0 / mib,
            as_mib(without.peak_kib),
            100.0 * cost,
        ));
        if round == load.rounds {
            let idle = Duration::from_secs(load.idle);
            tokio::time::sleep(idle).await;
            let after = shipper.usage()?;
            report::print(&format!(
                "idle for {idle:?} afterwards: {:.3} % of a core, {:.1} MiB resident",
                100.0 * after.cpu.saturating_sub(usage.cpu).as_secs_f64() / idle.as_secs_f64(),
                as_mib(after.resident_kib),
            ));
        }
    }
    shares.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).context("no round was measured")?;
    let cost = costs.get(costs.len() / 2).context("no round was measured")?;
    report::print(&format!("median: redaction takes {:.1} % more CPU", 100.0 * cost));
    report::print(&format!("median: {:.1} % of the bound", 100.0 * median));
    Ok(())
}

/// The fields of `/status` that are read.
#[derive(Deserialize)]
struct Status {
    files: Vec<FileStatus>,
    entries_pushed: u64,
}

#[derive(Deserialize)]
struct FileStatus {
    lag_bytes: u64,
}

struct Shipper {
    child: Child,
    admin: String,
    _sink: Sink,
    _dir: tempfile::TempDir,
}

impl Shipper {
    async fn start(logs: &std::path::Path, redact: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let sink = Sink::start().await?;
        let (ca, token) = (dir.path().join("ca.crt"), dir.path().join("token"));
        std::fs::write(&ca, &sink.ca)?;
        std::fs::write(&token, "token")?;
        let port = free_port()?;
        let child = Command::new(program("redis-log-shipper")?)
            .arg("run")
            .args(["--log-dir".as_ref(), logs.as_os_str()])
            .args(["--ca-file".as_ref(), ca.as_os_str()])
            .args(["--token-file".as_ref(), token.as_os_str()])
            .args(["--state-dir".as_ref(), dir.path().as_os_str()])
            .args([format!("--loki-url={}", sink.url), format!("--listen=127.0.0.1:{port}")])
            .arg(format!("--redact={redact}"))
            .args(["--label=job=redis-enterprise-internal", "--label=kubernetes_namespace_name=redis"])
            .stderr(std::fs::File::create(dir.path().join("shipper.log"))?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the shipper")?;
        Ok(Self { child, admin: format!("http://127.0.0.1:{port}"), _sink: sink, _dir: dir })
    }

    /// The longest wait for all acknowledgements.
    async fn wait_for(&mut self, logs: &Logs) -> anyhow::Result<()> {
        let (client, url) = (http::client(None)?, format!("{}/status", self.admin));
        eventually("everything is shipped", PATIENCE, || async {
            let Ok((_, answer)) = http::get(&client, &url).await else { return Ok(None) };
            let status: Status = serde_json::from_slice(&answer)?;
            let read = status.files.iter().all(|file| file.lag_bytes == 0);
            Ok((read && status.entries_pushed >= logs.entries).then_some(()))
        })
        .await
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.child.id().context("the shipper has ended")?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn as_mib(kib: u64) -> f64 {
    mib(kib << 10)
}
