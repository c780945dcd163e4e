//! The shipper's own client, which pushes batches that a test composes and records failures.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use findings::Finding;
use harness::loki::Loki;
use jiff::Timestamp;
use redis_log_shipper::batch::{BatchBuffer, MetadataSwitch};
use redis_log_shipper::formats::Format;
use redis_log_shipper::push::answer::Trouble;
use redis_log_shipper::push::rejections::Rejections;
use redis_log_shipper::push::{self, PushSettings};

/// Entries of one stream, in order.
pub(crate) struct Stream {
    pub(crate) labels: String,
    pub(crate) name: &'static str,
    pub(crate) entries: Vec<(i64, String)>,
}

impl Stream {
    /// This many entries from now on, a nanosecond apart.
    pub(crate) fn new(name: &'static str, entries: usize) -> Self {
        let now = now();
        let line =
            |number| format!("2026-02-20 22:31:07,000 {} line {number}", if number == 0 { "ERROR" } else { "INFO" });
        let entries = (0_i64..).zip((0..entries).map(line)).map(|(number, line)| (now + number, line)).collect();
        Self { labels: format!(r#"{{log_file="{name}"}}"#), name, entries }
    }

    fn batch(&self) -> (Bytes, usize) {
        let mut buffer = BatchBuffer::new(64 << 20);
        buffer.start(&self.labels, "dmcproxy.log");
        for (time, line) in &self.entries {
            let level = Format::all().find_map(|format| format.level(line.as_bytes()));
            buffer.push(*time, line.as_bytes(), level);
        }
        (buffer.seal(&self.labels).0, self.entries.len())
    }

    /// Its lines, except those of `rejected` entries.
    pub(crate) fn lines(&self, rejected: impl Fn(&(i64, String)) -> bool) -> Vec<String> {
        self.entries.iter().filter(|entry| !rejected(entry)).map(|(_, line)| line.clone()).collect()
    }

    pub(crate) async fn shown(&self, loki: &Loki) -> Vec<String> {
        loki.query().lines(&format!(r#"{{log_file="{}"}}"#, self.name)).await.unwrap()
    }
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}

/// A client and its failures.
pub(crate) struct Client {
    push: push::Loki,
    pub(crate) metadata: MetadataSwitch,
    pub(crate) failures: Mutex<Vec<(Trouble, String)>>,
}

impl Client {
    /// A client that pushes to `url` without a token.
    pub(crate) fn new(url: &str) -> Self {
        Self::with(url, None, Vec::new())
    }

    /// A client that pushes to `url` with the token in a file and with these CA files.
    pub(crate) fn with(url: &str, token_file: Option<PathBuf>, ca_files: Vec<PathBuf>) -> Self {
        let metadata = MetadataSwitch::default();
        let settings = PushSettings { url: url.parse().unwrap(), token_file, ca_files, rate_limit: None };
        Self { push: push::Loki::new(settings, metadata.clone()), metadata, failures: Mutex::default() }
    }

    pub(crate) async fn push(&mut self, stream: &Stream) -> Rejections {
        let (body, entries) = stream.batch();
        let failures = &self.failures;
        let heard = |failure: &push::Failure<'_>| {
            failures.lock().unwrap().push((failure.trouble.clone(), failure.answer.to_owned()));
        };
        self.push.push(&body, entries, heard).await
    }

    /// Pushes until the first failure, and returns it.
    pub(crate) async fn first_failure(&mut self, stream: &Stream) -> (Trouble, String) {
        let (trouble, answer, _) = self.first_finding(stream).await;
        (trouble, answer)
    }

    /// As [`Self::first_failure`], with its finding.
    pub(crate) async fn first_finding(&mut self, stream: &Stream) -> (Trouble, String, Finding) {
        let (body, entries) = stream.batch();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let heard = move |failure: &push::Failure<'_>| {
            sender.send((failure.trouble.clone(), failure.answer.to_owned(), failure.finding.clone())).unwrap();
        };
        tokio::select! {
            _ = self.push.push(&body, entries, heard) => unreachable!("a push was stored that should have been refused"),
            failure = receiver.recv() => failure.unwrap(),
        }
    }
}
