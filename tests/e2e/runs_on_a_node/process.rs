//! The processes of containers in this machine's `/proc`.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::redis::container;

/// The first process of a pod's container.
pub(crate) fn of(pod: &Value, name: &str) -> anyhow::Result<u32> {
    let status = container(pod, name).with_context(|| format!("no container {name} in {pod:#}"))?;
    let id = status["containerID"].as_str().and_then(|id| id.rsplit('/').next()).context("no container ID")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has just ended has none.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let is_first = groups.contains(id) && status_of(pid, "NSpid").is_some_and(|pids| pids.ends_with("\t1"));
        if is_first {
            found.push(pid);
        }
    }
    found.first().copied().with_context(|| format!("no process of container {name}, {id}"))
}

/// A line of `/proc/PID/status`.
pub(crate) fn status(pid: u32, name: &str) -> anyhow::Result<String> {
    status_of(pid, name).with_context(|| format!("process {pid} has no {name}"))
}

fn status_of(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The mount points of a process, each with `ro` or `rw`.
pub(crate) fn mounts(pid: u32) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        let (path, options) = (fields.next()?, fields.next()?);
        Some((path.to_owned(), options.split(',').next()?.to_owned()))
    });
    Ok(mounts.collect())
}

/// Sends a signal, such as `KILL`.
pub(crate) fn signal(pid: u32, signal: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status()?;
    ensure!(status.success(), "failed to signal process {pid}");
    Ok(())
}
