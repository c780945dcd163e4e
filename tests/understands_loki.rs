//! The client and a real Loki: what Loki's answers say in its own words, and what is in it afterwards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;

use bytes::Bytes;
use harness::loki::{Loki, Setup};
use harness::servers::Servers;
use jiff::Timestamp;
use redis_log_shipper::answer::Trouble;
use redis_log_shipper::batch::{BatchBuffer, MetadataSwitch};
use redis_log_shipper::push::{self, PushSettings};
use redis_log_shipper::rejections::{Reason, Rejections};

const HOUR: i64 = 3_600_000_000_000;

/// Entries of one stream, in order.
struct Stream {
    labels: String,
    name: &'static str,
    entries: Vec<(i64, String)>,
}

impl Stream {
    /// So many entries from now on, a nanosecond apart.
    fn new(name: &'static str, entries: usize) -> Self {
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
            buffer.push(*time, line.as_bytes());
        }
        (buffer.seal(&self.labels).0, self.entries.len())
    }

    /// Its lines, without those that `rejected` tells.
    fn lines(&self, rejected: impl Fn(&(i64, String)) -> bool) -> Vec<String> {
        self.entries.iter().filter(|entry| !rejected(entry)).map(|(_, line)| line.clone()).collect()
    }

    async fn shown(&self, loki: &Loki) -> Vec<String> {
        loki.query().lines(&format!(r#"{{log_file="{}"}}"#, self.name)).await.unwrap()
    }
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}

/// Makes an entry one that Loki will never take.
type Spoil = fn(&mut (i64, String));

/// A client, and what it was told.
struct Client {
    push: push::Loki,
    metadata: MetadataSwitch,
    failures: Mutex<Vec<(Trouble, String)>>,
}

impl Client {
    fn new(loki: &Loki) -> Self {
        let url = format!("{}/loki/api/v1/push", loki.url).parse().unwrap();
        let metadata = MetadataSwitch::default();
        let settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
        Self { push: push::Loki::new(settings, metadata.clone()), metadata, failures: Mutex::default() }
    }

    async fn push(&mut self, stream: &Stream) -> Rejections {
        let (body, entries) = stream.batch();
        let failures = &self.failures;
        let heard = |failure: &push::Failure<'_>| {
            failures.lock().unwrap().push((failure.trouble.clone(), failure.said.to_owned()));
        };
        self.push.push(&body, entries, heard).await
    }

    /// Pushes until the first failure, which is returned.
    async fn first_failure(&mut self, stream: &Stream) -> (Trouble, String) {
        let (body, entries) = stream.batch();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let heard = move |failure: &push::Failure<'_>| {
            sender.send((failure.trouble.clone(), failure.said.to_owned())).unwrap();
        };
        tokio::select! {
            _ = self.push.push(&body, entries, heard) => unreachable!("Loki took what it cannot take"),
            failure = receiver.recv() => failure.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_entries_and_stores_the_others() {
    let Some(servers) = Servers::find("understands_loki").unwrap() else { return };
    let loki = Loki::start(&servers).await.unwrap();
    let mut client = Client::new(&loki);

    // One entry of 5,000 that Loki will never take; every other one is there.
    let cases: [(&str, Reason, Spoil); 2] = [
        ("old", Reason::TooOld, |entry| entry.0 -= 200 * HOUR),
        ("long", Reason::LineTooLong, |entry| entry.1 = "x".repeat(300_000)),
    ];
    for (name, reason, spoil) in cases {
        let mut stream = Stream::new(name, 5000);
        let good = stream.entries[1234].clone();
        spoil(&mut stream.entries[1234]);
        let spoilt = stream.entries[1234].clone();
        assert_ne!(good, spoilt);
        assert_eq!(client.push(&stream).await, Rejections::of(reason, 1), "{name}");
        assert_eq!(stream.shown(&loki).await, stream.lines(|entry| *entry == spoilt), "{name}");
    }

    // One that is too new is kept for later, and the others are there meanwhile.
    let mut stream = Stream::new("new", 5000);
    stream.entries[1234].0 += HOUR;
    let spoilt = stream.entries[1234].clone();
    let pushed = tokio::time::timeout(std::time::Duration::from_secs(2), client.push(&stream)).await;
    assert!(pushed.is_err(), "{pushed:?}");
    assert_eq!(stream.shown(&loki).await, stream.lines(|entry| *entry == spoilt));

    // An hour and a half behind the newest entry: Loki's ingester says so, in other words than its distributor.
    let mut stream = Stream::new("behind", 3);
    assert_eq!(client.push(&stream).await, Rejections::default());
    let newest = stream.entries.clone();
    stream.entries.insert(1, (newest[0].0 - 3 * HOUR / 2, "behind".to_owned()));
    stream.entries.insert(1, (newest[0].0 - 2 * HOUR, "far behind".to_owned()));
    assert_eq!(client.push(&stream).await, Rejections::of(Reason::TooFarBehind, 2));
    assert_eq!(stream.shown(&loki).await, stream.lines(|entry| entry.1.contains("behind")));

    // Too many labels: all entries, for the sake of the stream.
    let mut stream = Stream::new("labels", 7);
    let many: Vec<_> = (0..40).map(|number| format!(r#"l{number}="x""#)).collect();
    stream.labels = format!("{{{}}}", many.join(", "));
    assert_eq!(client.push(&stream).await, Rejections::of(Reason::LabelLimit, 7));
    assert!(client.failures.lock().unwrap().is_empty(), "{:?}", client.failures);

    // Labels that are none: held.
    for labels in ["{a=}", "{"] {
        stream.labels = labels.to_owned();
        let (trouble, said) = client.first_failure(&stream).await;
        assert_eq!(trouble, Trouble::BadRequest, "{labels}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collapses_a_resend_with_metadata() {
    let Some(servers) = Servers::find("understands_loki").unwrap() else { return };
    let loki = Loki::start(&servers).await.unwrap();
    let mut client = Client::new(&loki);
    let stream = Stream::new("dmcproxy", 100);
    for _ in 0..3 {
        assert_eq!(client.push(&stream).await, Rejections::default());
    }
    assert!(client.metadata.is_on());
    assert_eq!(stream.shown(&loki).await, stream.lines(|_| false));
    let count = |filter: &str| format!(r#"{{log_file="dmcproxy"}} {filter}"#);
    let query = loki.query();
    assert_eq!(query.lines(&count(r#"| level="error""#)).await.unwrap(), [stream.entries[0].1.clone()]);
    assert_eq!(query.lines(&count(r#"| level="info""#)).await.unwrap().len(), 99);
    assert_eq!(query.lines(&count(r#"| filename="dmcproxy.log""#)).await.unwrap().len(), 100);
    // A metric query counts what is stored: the resends are not.
    assert_eq!(query.number(r#"sum(count_over_time({log_file="dmcproxy"}[1h]))"#).await.unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_less_metadata_at_a_lower_rate_in_smaller_pieces() {
    let Some(servers) = Servers::find("understands_loki").unwrap() else { return };
    let limits = "allow_structured_metadata: false
  discover_log_levels: false
  ingestion_rate_mb: 1
  ingestion_burst_size_mb: 1
  per_stream_rate_limit: 512KB
  per_stream_rate_limit_burst: 512KB";
    let loki = Loki::start_with(&servers, Setup { schema: "v12", limits, max_push_bytes: 50_000 }).await.unwrap();
    let mut client = Client::new(&loki);

    let stream = Stream::new("plain", 100);
    for _ in 0..3 {
        assert_eq!(client.push(&stream).await, Rejections::default());
    }
    assert!(!client.metadata.is_on());
    assert_eq!(stream.shown(&loki).await, stream.lines(|_| false));
    assert!(client.failures.lock().unwrap().is_empty(), "{:?}", client.failures);

    // Two megabytes of a stream that may have half a megabyte a second, in pushes of at most 50 KB.
    let mut stream = Stream::new("flood", 20_000);
    for (time, line) in &mut stream.entries {
        // What no compression makes much smaller.
        *line = format!(
            "{line} {:032x} {:032x}",
            u128::from(time.unsigned_abs()).pow(2),
            u128::MAX / (1 + u128::from(time.unsigned_abs()))
        );
    }
    assert_eq!(client.push(&stream).await, Rejections::default());
    assert_eq!(stream.shown(&loki).await, stream.lines(|_| false));
    let throttled = |(trouble, _): &(Trouble, String)| matches!(trouble, Trouble::Throttled { .. });
    assert!(client.failures.lock().unwrap().iter().all(throttled), "{:?}", client.failures);
}
