//! Where the node's pods push to: a real `VictoriaLogs` on this machine, at the address that the node reaches it by.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::node::{OUTSIDE, Parts};
use harness::process::Process;
use harness::store::Entry;
use harness::{free_port, http};
use runtime::tls::HttpClient;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `VictoriaLogs`.
pub(crate) struct Receiver {
    address: String,
    _process: Process,
}

impl Receiver {
    /// Starts one that keeps its data in `dir`.
    pub(crate) async fn start(parts: &Parts, dir: &Path) -> anyhow::Result<Self> {
        let address = format!("{OUTSIDE}:{}", free_port()?);
        let mut command = Command::new(&parts.victoria_logs);
        command
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-storageDataPath={}", dir.join("data").display()))
            .args(["-retentionPeriod=100y", "-loki.disableMessageParsing"]);
        let mut process = Process::start("victoria-logs", &command, dir)?;
        let (client, health) = (http::client(None)?, format!("http://{address}/health"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &health).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        Ok(Self { address, _process: process })
    }

    pub(crate) fn push_url(&self) -> String {
        push_url(&self.address)
    }

    /// What a Loki would show of `selector`, such as `{log_file="dmcproxy"}`, oldest first: one entry of those that were stored
    /// twice with the same stream, time and text.
    pub(crate) async fn entries(&self, selector: &str) -> anyhow::Result<Vec<Entry>> {
        let query = http::in_query(&format!("{selector} | fields _time, _msg, _stream"));
        let client: HttpClient = http::client(None)?;
        let (status, body) =
            http::get(&client, &format!("http://{}/select/logsql/query?query={query}", self.address)).await?;
        ensure!(status.is_success(), "VictoriaLogs said {status}: {}", String::from_utf8_lossy(&body));
        let mut entries = Vec::new();
        for row in String::from_utf8_lossy(&body).lines() {
            let row: Value = serde_json::from_str(row)?;
            let text = |name: &str| row[name].as_str().with_context(|| format!("no {name} in {row}"));
            let time: jiff::Timestamp = text("_time")?.parse()?;
            entries.push(Entry {
                time: i64::try_from(time.as_nanosecond())?,
                text: row["_msg"].as_str().unwrap_or_default().to_owned(),
                labels: text("_stream")?.to_owned(),
            });
        }
        entries.sort_by(|a, b| (a.time, &a.labels, &a.text).cmp(&(b.time, &b.labels, &b.text)));
        entries.dedup_by(|a, b| (a.time, &a.labels, &a.text) == (b.time, &b.labels, &b.text));
        Ok(entries)
    }
}

/// A way to a receiver that can be closed: a receiver that is away, and loses nothing meanwhile.
pub(crate) struct Way {
    address: String,
    open: Option<JoinSet<()>>,
}

impl Way {
    /// A way that is closed.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { address: format!("{OUTSIDE}:{}", free_port()?), open: None })
    }

    pub(crate) fn push_url(&self) -> String {
        push_url(&self.address)
    }

    /// Opens it.
    pub(crate) async fn open(&mut self, receiver: &Receiver) -> anyhow::Result<()> {
        let (listener, to) = (TcpListener::bind(&self.address).await?, receiver.address.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    let Ok(mut to) = TcpStream::connect(to).await else { return };
                    // Either end may close as it likes.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        self.open = Some(tasks);
        Ok(())
    }

    /// Closes it, with the connections that are open.
    pub(crate) async fn close(&mut self) {
        if let Some(mut tasks) = self.open.take() {
            tasks.shutdown().await;
        }
    }
}

fn push_url(address: &str) -> String {
    format!("http://{address}/insert/loki/api/v1/push")
}
