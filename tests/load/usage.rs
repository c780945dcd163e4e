//! What the kernel says a process has used.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// A tick of the CPU times in `/proc`: 1/100 s wherever Linux runs Kubernetes.
const TICK: Duration = Duration::from_millis(10);

/// What a process or a thread has used since it was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Of all cores together.
    pub(crate) cpu: Duration,
    /// The most memory that was resident at any time.
    pub(crate) peak_kib: u64,
    /// What is resident now.
    pub(crate) resident_kib: u64,
}

impl Usage {
    /// That of a process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()))
    }

    /// That of the calling thread; the memory is its process's.
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

/// The time spent in user mode and in the kernel: the 14th and the 15th field, where the 2nd is a name in parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(TICK * (times.next()?.ok()? + times.next()?.ok()?))
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
