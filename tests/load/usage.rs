//! Reads the CPU time and memory of a process from `/proc`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// The unit of CPU times in `/proc`: 1/100 s on every Linux that runs Kubernetes.
const TICK: Duration = Duration::from_millis(10);

/// The usage of a process or a thread since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU time on all cores.
    pub(crate) cpu: Duration,
    /// Peak resident memory.
    pub(crate) peak_kib: u64,
    /// Resident memory now.
    pub(crate) resident_kib: u64,
}

impl Usage {
    /// The usage of a process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()))
    }

    /// The usage of the calling thread, with the memory of its process.
    pub(crate) fn of_this_thread() -> anyhow::Result<Self> {
        Self::read(Path::new("/proc/thread-self"))
    }

    fn read(proc: &Path) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(proc.join("stat"))?;
        let status = std::fs::read_to_string(proc.join("status"))?;
        let kib = |field| kib(&status, field).with_context(|| format!("no {field} in {status}"));
        Ok(Self {
            cpu: cpu(&stat).with_context(|| format!("no CPU times in {stat}"))?,
            peak_kib: kib("VmHWM:")?,
            resident_kib: kib("VmRSS:")?,
        })
    }
}

/// The time in user mode and in the kernel: fields 14 and 15. Field 2 is a name in parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(TICK * (times.next()?.ok()? + times.next()?.ok()?))
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
