//! A program that runs beside a test. Its output goes to a file, and it ends with the test, however the test ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Runs `"$@"` until it ends or standard input closes. Standard input closes when the test ends, even by SIGKILL.
/// A SIGTERM is passed on to the program, and the shell waits for it again.
const WITH_US: &str = r#""$@" & pid=$!; trap 'kill -TERM $pid' TERM; { cat >/dev/null; kill -9 $pid 2>/dev/null; } <&3 &
wait $pid; status=$?; [ $status != 143 ] || wait $pid 2>/dev/null; exit $status"#;
/// The interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(50);

/// A running program; killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `NAME.log` in `dir`.
    pub fn start(name: &str, command: &Command, dir: &Path) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut wrapped = Command::new("bash");
        wrapped
            .args(["-c", &format!("exec 3<&0; {WITH_US}"), name])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        let child = wrapped
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` is true. Fails with the end of the log if the program ends or takes too long.
    pub async fn wait_until<F: Future<Output = bool>>(
        &mut self,
        within: Duration,
        ready: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.name, self.last_lines());
            }
            if start.elapsed() > within {
                bail!("{} was not ready within {within:?}:\n{}", self.name, self.last_lines());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits until the program has ended.
    pub async fn terminate(mut self, within: Duration) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "failed to send SIGTERM to {}", self.name);
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(start.elapsed() <= within, "{} did not end within {within:?} after SIGTERM", self.name);
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The closed standard input ends the program, and then the shell.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("failed to stop {}: {error}", self.name);
        }
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log ---\n{}", self.name, self.last_lines());
            keep_log(&self.log);
        }
    }
}

/// Keeps a copy of a failed test's log outside the test's directory, and prints its path.
pub fn keep_log(log: &Path) {
    let dir = super::repository().join("target/e2e-logs");
    let (Some(name), Ok(())) = (log.file_name(), std::fs::create_dir_all(&dir)) else { return };
    let kept = dir.join(name);
    if std::fs::copy(log, &kept).is_ok() {
        eprintln!("--- all of it: {} ---", kept.display());
    }
}

/// Waits until `check` returns a value. Fails with `what` after `within`.
pub async fn eventually<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    what: &str,
    within: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if start.elapsed() > within {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}
