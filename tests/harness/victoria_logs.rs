//! A real VictoriaLogs, which accepts Loki's pushes, and LogsQL queries.
//!
//! It keeps every copy of an entry that arrives twice.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use runtime::tls::HttpClient;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::store::Entry;
use crate::{free_port, http};

const PATIENCE: Duration = Duration::from_mins(1);

/// A VictoriaLogs. It is down between [`VictoriaLogs::stop`] and [`VictoriaLogs::restart`].
#[derive(Debug)]
pub struct VictoriaLogs {
    /// Its address, such as `http://127.0.0.1:9428`.
    pub url: String,
    client: HttpClient,
    command: Command,
    process: Option<Process>,
    dir: TempDir,
}

impl VictoriaLogs {
    /// Starts it and waits until it is ready.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(binary);
        command
            .args(["-retentionPeriod=100y", "-loki.disableMessageParsing", "-loggerLevel=WARN"])
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-storageDataPath={}", dir.path().join("data").display()));
        let url = format!("http://{address}");
        let mut logs = Self { url, client: http::client(None)?, command, process: None, dir };
        logs.restart().await?;
        Ok(logs)
    }

    /// Ends it with SIGTERM, so that it writes acknowledged pushes to disk. It has no write-ahead log.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.terminate(PATIENCE).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same disk and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut process = Process::start("victoria-logs", &self.command, self.dir.path())?;
        let health = format!("{}/health", self.url);
        process
            .wait_until(PATIENCE, || async {
                http::get(&self.client, &health).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// The entries that `logsql` selects, oldest first, copies included.
    pub async fn entries(&self, logsql: &str) -> anyhow::Result<Vec<Entry>> {
        let text = self.ask(logsql).await?;
        let mut entries: Vec<_> = text.lines().map(entry).collect::<anyhow::Result<_>>()?;
        entries.sort();
        Ok(entries)
    }

    /// How many entries `logsql` selects.
    pub async fn count(&self, logsql: &str) -> anyhow::Result<u64> {
        let answer: Value = serde_json::from_str(&self.ask(&format!("{logsql} | stats count() n")).await?)?;
        Ok(answer.get("n").and_then(Value::as_str).context("an answer without a number")?.parse()?)
    }

    async fn ask(&self, logsql: &str) -> anyhow::Result<String> {
        // New entries are shown only after a flush.
        self.get("internal/force_flush").await?;
        self.get(&format!("select/logsql/query?query={}", http::in_query(logsql))).await
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = http::get(&self.client, &format!("{}/{path}", self.url)).await?;
        let text = String::from_utf8(body.into())?;
        ensure!(status.is_success(), "VictoriaLogs said {status}: {text}");
        Ok(text)
    }
}

/// Parses one line of an answer: a JSON object with fields for the timestamp, the text and the labels.
fn entry(line: &str) -> anyhow::Result<Entry> {
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(line)?;
    let mut field = |name: &str| match fields.remove(name) {
        Some(Value::String(value)) => Ok(value),
        _ => Err(anyhow::anyhow!("an entry without {name}: {line}")),
    };
    let (time, text) = (field("_time")?, field("_msg")?);
    let time = i64::try_from(time.parse::<Timestamp>()?.as_nanosecond())?;
    Ok(Entry { time, text, labels: Value::from(fields).to_string() })
}
