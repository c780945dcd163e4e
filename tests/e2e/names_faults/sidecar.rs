//! A running shipper, and what it says: in its log, in `/status` and in its metrics.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::process::{Process, eventually};
use harness::programs::program;
use harness::{free_port, http};
use serde_json::Value;
use tempfile::TempDir;

use super::{GOAL, Made};

/// A directory with log files and credentials.
pub(super) struct Sidecar {
    pub(super) dir: TempDir,
    /// Flags in addition to the directories and addresses.
    pub(super) flags: Vec<String>,
}

/// A shipper that runs.
pub(super) struct Running {
    process: Process,
    admin: String,
}

impl Sidecar {
    /// A sidecar that pushes to `url`.
    pub(super) fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir, flags: vec![format!("--loki-url={url}")] }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and returns its path.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a log file with this many lines of now.
    pub(super) fn log(&self, name: &str, lines: usize) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S,000").to_string();
        self.write(&format!("logs/{name}"), &format!("{now} INFO MainThread: a line of a log file\n").repeat(lines));
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["run", "--log-format=json"]).args(&self.flags);
        command.arg(format!("--log-dir={}", self.path("logs").display()));
        command.arg(format!("--state-dir={}", self.path("state").display()));
        command
    }

    pub(super) fn start_command(&self, mut command: Command) -> Running {
        let admin = format!("127.0.0.1:{}", free_port().unwrap());
        command.arg(format!("--listen={admin}"));
        let process = Process::start("redis-log-shipper", &command, self.dir.path()).unwrap();
        Running { process, admin: format!("http://{admin}") }
    }

    /// Starts the shipper, and waits until it names the fault everywhere.
    pub(super) async fn names(&self, fault: &'static str, code: &str) -> Running {
        let command = self.command(&program("redis-log-shipper").unwrap());
        let made = Made::now(fault);
        let running = self.start_command(command);
        running.names(&made, code).await;
        running
    }
}

impl Running {
    /// Waits until the log, the metrics and `/status` name the fault.
    pub(super) async fn names(&self, made: &Made, code: &str) {
        self.logs(made, code).await;
        let series = format!("redis_log_shipper_finding{{code=\"{code}\"");
        self.shows(made, (code, "metrics"), |text| text.contains(&series)).await;
        let with_fix = |text: &str| serde_json::from_str(text).is_ok_and(|status| has_fix(&status, code));
        self.shows(made, (code, "status"), with_fix).await;
    }

    /// Waits until the log names the fault.
    pub(super) async fn logs(&self, made: &Made, code: &str) {
        eventually(&format!("the log names {}: {code}", made.fault), GOAL, || async {
            let log = self.process.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            Ok(lines.any(|line| line["code"] == code).then_some(()))
        })
        .await
        .unwrap();
        made.is_named(code, "log");
    }

    async fn shows(&self, made: &Made, (code, page): (&str, &str), names: impl Fn(&str) -> bool) {
        let (client, url) = (http::client(None).unwrap(), format!("{}/{page}", self.admin));
        eventually(&format!("/{page} names {}: {code}", made.fault), GOAL, || async {
            let answer = http::get(&client, &url).await;
            let shown = answer.is_ok_and(|(_, body)| names(&String::from_utf8_lossy(&body)));
            Ok(shown.then_some(()))
        })
        .await
        .unwrap();
        made.is_named(code, page);
    }
}

/// Whether an object in `status` has this code, and a fix.
fn has_fix(status: &Value, code: &str) -> bool {
    let is_it = status["code"] == code && status["fix"].as_str().is_some_and(|fix| !fix.is_empty());
    let mut inside: Box<dyn Iterator<Item = &Value>> = match status {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => Box::new(std::iter::empty()),
    };
    is_it || inside.any(|value| has_fix(value, code))
}
