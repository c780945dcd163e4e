//! Runs the shipper as the injected container specifies, while files are written and rotated.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use harness::kubelet::Container;
use harness::store::selector;
use harness::writer::LogFile;
use redis_log_shipper::args::{Args, Command};
use redis_log_shipper::pipeline::Shipper;
use redis_log_shipper::settings::Settings;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::terminal::Terminal;

const LOG_DIR: &str = "/var/opt/redislabs/log";
const JOB: (&str, &str) = ("job", "redis-enterprise-internal");
/// The steps in which the files are filled. Each file is rotated a few times.
const STEPS: usize = 30;

/// Writes `entries` entries to each file while a shipper follows. Returns the files after the shipper has drained them.
pub(crate) async fn ship(pod: &Value, entries: usize, terminal: &Terminal) -> anyhow::Result<Vec<LogFile>> {
    let root = tempfile::tempdir()?;
    let container = Container::new(pod, "log-shipper", root.path())?;
    terminal.title("2. The injected container starts, its paths below a temporary directory");
    for arg in container.args()? {
        terminal.line(&format!("   {arg}"));
    }
    std::fs::create_dir_all(container.path(LOG_DIR))?;
    let mut files = LogFile::open_all(&container.path(LOG_DIR))?;
    let shipper = Shipper::start(settings(&container)?).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(Box::pin(shipper.run(shutdown.clone())));

    terminal.title("3. Redis Enterprise writes and rotates its 17 log files");
    let (mut renamed, mut truncated) = (0, 0);
    for step in 0..STEPS {
        for (i, file) in files.iter_mut().enumerate() {
            file.write(entries * (step + 1) / STEPS - entries * step / STEPS)?;
            match (step + i) % 12 {
                3 => {
                    file.rotate_by_copytruncate()?;
                    truncated += 1;
                }
                9 => {
                    file.rotate_by_rename()?;
                    renamed += 1;
                }
                _ => {}
            }
        }
        // This sets the pace of the generator, so that rotations meet a busy shipper.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let lines: usize = files.iter().map(|file| file.written.len()).sum();
    terminal.line(&format!("   {lines} lines, {truncated} rotations by copytruncate, {renamed} by rename"));
    shutdown.cancel();
    running.await??;
    Ok(files)
}

fn settings(container: &Container<'_>) -> anyhow::Result<Settings> {
    let line = std::iter::once("redis-log-shipper".to_owned()).chain(container.args()?);
    let Command::Run(mut args) = Args::try_parse_from(line)?.command else { bail!("the container does not run") };
    // The default port 9464 is for a pod's own network. Another program may use it here.
    args.listen = None;
    Settings::new(&args).context("the injected container's args")
}

/// Runs the two acceptance queries and counts lost and doubled lines for each file.
pub(crate) async fn compare(files: &[LogFile], receiver: &Receiver, terminal: &Terminal) -> anyhow::Result<bool> {
    terminal.title("4. The queries");
    let all = receiver.lines(&[JOB]).await?;
    terminal.line(&format!("   {}: {} lines", selector(&[JOB]), all.len()));
    let dmcproxy = [JOB, ("log_file", "dmcproxy")];
    let lines = receiver.lines(&dmcproxy).await?;
    terminal.line(&format!("   {}: {} lines, the last of them", selector(&dmcproxy), lines.len()));
    for line in lines.get(lines.len().saturating_sub(3)..).unwrap_or_default() {
        terminal.line(&format!("      {line}"));
    }
    terminal.line("");
    terminal.line(&format!("   {:<22}{:>9}{:>9}{:>7}{:>9}", "log_file", "written", "shown", "lost", "doubled"));
    let (mut lost, mut doubled) = (0, 0);
    for file in files {
        let shown = receiver.lines(&[JOB, ("log_file", file.stem)]).await?;
        let faults = faults(&file.written, &shown);
        terminal.line(&format!(
            "   {:<22}{:>9}{:>9}{:>7}{:>9}",
            file.stem,
            file.written.len(),
            shown.len(),
            faults.0,
            faults.1
        ));
        lost += faults.0;
        doubled += faults.1;
    }
    let total = format!("   lost {lost}, doubled {doubled}");
    if lost + doubled == 0 {
        terminal.good(&total);
    } else {
        terminal.bad(&total);
    }
    Ok(lost + doubled == 0)
}

/// How many lines are lost, and how many are shown too often.
fn faults(written: &[String], shown: &[String]) -> (i64, i64) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for line in written {
        *counts.entry(line).or_default() += 1;
    }
    for line in shown {
        *counts.entry(line).or_default() -= 1;
    }
    let lost = counts.values().filter(|count| **count > 0).sum();
    let doubled = counts.values().filter(|count| **count < 0).map(|count| -count).sum();
    (lost, doubled)
}
