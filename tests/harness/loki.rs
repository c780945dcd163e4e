//! A real Loki as one process with a filesystem store, and LogQL queries.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use runtime::tls::HttpClient;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::store::Entry;
use crate::{free_port, http};

const PATIENCE: Duration = Duration::from_mins(1);
/// More entries than any test writes.
const ENTRIES: u32 = 2_000_000;

/// The settings of a Loki that differ between tests.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The schema version.
    pub schema: &'static str,
    /// Lines for `limits_config`.
    pub limits: &'static str,
    /// The largest push, in bytes.
    pub max_push_bytes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = "ingestion_rate_mb: 100
  ingestion_burst_size_mb: 200
  per_stream_rate_limit: 100MB
  per_stream_rate_limit_burst: 200MB";
        Self { schema: "v13", limits, max_push_bytes: 100 << 20 }
    }
}

/// A Loki. It is down between [`Loki::kill`] and [`Loki::restart`].
#[derive(Debug)]
pub struct Loki {
    /// Its address, such as `http://127.0.0.1:3100`.
    pub url: String,
    query: Query,
    command: Command,
    process: Option<Process>,
    dir: TempDir,
}

impl Loki {
    /// Starts Loki and waits until it is ready.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
        Self::start_with(binary, Setup::default()).await
    }

    /// As [`Self::start`], with another set-up.
    pub async fn start_with(binary: &Path, setup: Setup) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (port, grpc) = (free_port()?, free_port()?);
        let config = dir.path().join("loki.yaml");
        std::fs::write(&config, configuration(port, grpc, &dir.path().display().to_string(), setup))?;
        let mut command = Command::new(binary);
        command.arg(format!("-config.file={}", config.display()));
        let url = format!("http://127.0.0.1:{port}");
        let mut loki = Self { query: Query::new(&url)?, url, command, process: None, dir };
        loki.restart().await?;
        loki.query = Query::new(&loki.url)?;
        Ok(loki)
    }

    /// Kills it, as a failing node does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same disk and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut process = Process::start("loki", &self.command, self.dir.path())?;
        let client = http::client(None)?;
        let ready = format!("{}/ready", self.url);
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &ready).await.is_ok_and(|(status, _)| status == hyper::StatusCode::OK)
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// The full push URL.
    pub fn push_url(&self) -> String {
        format!("{}/loki/api/v1/push", self.url)
    }

    /// Its query API.
    pub fn query(&self) -> &Query {
        &self.query
    }
}

/// LogQL queries to a Loki.
#[derive(Debug)]
pub struct Query {
    url: String,
    client: HttpClient,
    /// The start of the time range: older entries belong to others.
    start: jiff::Timestamp,
}

impl Query {
    /// Queries the Loki at `url`, such as `http://127.0.0.1:3100`, for entries from now on.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned(), client: http::client(None)?, start: jiff::Timestamp::now() })
    }

    /// The lines that `logql` selects, oldest entry first.
    pub async fn lines(&self, logql: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.entries(logql).await?.iter().flat_map(Entry::lines).map(ToOwned::to_owned).collect())
    }

    /// The entries that `logql` selects, oldest first.
    pub async fn entries(&self, logql: &str) -> anyhow::Result<Vec<Entry>> {
        let start = self.start.as_nanosecond();
        let path = format!("query_range?direction=forward&start={start}&limit={ENTRIES}");
        let answer = self.ask(&path, logql).await?;
        let streams = answer.pointer("/data/result").and_then(Value::as_array).context("no result")?;
        let mut entries = Vec::new();
        for stream in streams {
            // Loki splits its answer by structured metadata.
            let labels = stream.get("stream").map(Value::to_string).unwrap_or_default();
            for pair in stream.get("values").and_then(Value::as_array).into_iter().flatten() {
                let text = |at: usize| pair.get(at).and_then(Value::as_str).context("an entry that is no pair");
                entries.push(Entry { time: text(0)?.parse()?, text: text(1)?.to_owned(), labels: labels.clone() });
            }
        }
        entries.sort_by_key(|entry| entry.time);
        Ok(entries)
    }

    /// The value of the metric query `logql`, 0 if it selects nothing.
    pub async fn number(&self, logql: &str) -> anyhow::Result<u64> {
        let answer = self.ask("query?limit=1", logql).await?;
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        Ok(value.map_or(Ok(0), str::parse)?)
    }

    /// How many streams `logql` returns, or how many series if it is a metric query.
    pub async fn results(&self, logql: &str) -> anyhow::Result<usize> {
        let start = self.start.as_nanosecond();
        let selects = logql.starts_with('{');
        let path = if selects { format!("query_range?start={start}&limit=10") } else { "query?limit=10".to_owned() };
        let answer = self.ask(&path, logql).await?;
        Ok(answer.pointer("/data/result").and_then(Value::as_array).context("no result")?.len())
    }

    async fn ask(&self, path: &str, logql: &str) -> anyhow::Result<Value> {
        let url = format!("{}/loki/api/v1/{path}&query={}", self.url, http::in_query(logql));
        let (status, body) = http::get(&self.client, &url).await?;
        ensure!(status.is_success(), "Loki said {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

fn configuration(port: u16, grpc: u16, dir: &str, setup: Setup) -> String {
    let Setup { schema, limits, max_push_bytes } = setup;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r"
auth_enabled: false
analytics: {{reporting_enabled: false}}
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {port}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc}
  grpc_server_max_recv_msg_size: 268435456
  grpc_server_max_send_msg_size: 268435456
  log_level: warn
common:
  path_prefix: {dir}/data
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {{instance_addr: 127.0.0.1, kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {dir}/chunks, rules_directory: {dir}/rules}}}}
schema_config:
  configs:
  - {{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: {schema}, index: {{prefix: index_, period: 24h}}}}
distributor: {{max_recv_msg_size: {max_push_bytes}}}
ingester: {{lifecycler: {{min_ready_duration: 0s}}}}
ingester_client: {{grpc_client_config: {{max_recv_msg_size: 268435456, max_send_msg_size: 268435456}}}}
querier: {{engine: {{max_look_back_period: 30s}}}}
frontend_worker: {{grpc_client_config: {{max_recv_msg_size: 268435456, max_send_msg_size: 268435456}}}}
query_range: {{parallelise_shardable_queries: false}}
limits_config:
  max_entries_limit_per_query: {ENTRIES}
  {limits}
  split_queries_by_interval: 0
"
    );
    text
}
