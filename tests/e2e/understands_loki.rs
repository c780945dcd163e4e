//! The client against a real Loki: the client understands each answer, and Loki has the right entries afterwards.

use std::time::Duration;

use crate::pushing::{Client, Stream};
use findings::Code;
use harness::loki::{Loki, Setup};
use harness::process::eventually;
use harness::servers::loki;
use redis_log_shipper::push::answer::{Limit, Trouble};
use redis_log_shipper::push::rejections::{Reason, Rejections};

const PATIENCE: Duration = Duration::from_mins(1);
const HOUR: i64 = 3_600_000_000_000;

/// Changes an entry so that Loki rejects it.
type Spoil = fn(&mut (i64, String));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_rejects_entries_and_stores_the_others() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start(&binary).await.unwrap();
    let mut client = Client::new(&loki.push_url());

    // Loki rejects one entry of 5,000 and stores all others.
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

    // An entry that is too new is held, and the others are stored meanwhile.
    let mut stream = Stream::new("new", 5000);
    stream.entries[1234].0 += HOUR;
    let spoilt = stream.entries[1234].clone();
    let others = stream.lines(|entry| *entry == spoilt);
    let stored = eventually("the other entries are stored", PATIENCE, || async {
        Ok((stream.shown(&loki).await == others).then_some(()))
    });
    tokio::select! {
        rejections = client.push(&stream) => unreachable!("the push ended: {rejections:?}"),
        stored = stored => stored.unwrap(),
    }
    let failures = std::mem::take(&mut *client.failures.lock().unwrap());
    assert!(failures.iter().all(|(trouble, _)| *trouble == Trouble::TooNew), "{failures:?}");

    // An entry is an hour and a half behind the newest one. The ingester rejects it, with another text than the distributor.
    let mut stream = Stream::new("behind", 3);
    assert_eq!(client.push(&stream).await, Rejections::default());
    let newest = stream.entries.clone();
    stream.entries.insert(1, (newest[0].0 - 3 * HOUR / 2, "behind".to_owned()));
    stream.entries.insert(1, (newest[0].0 - 2 * HOUR, "far behind".to_owned()));
    assert_eq!(client.push(&stream).await, Rejections::of(Reason::TooFarBehind, 2));
    assert_eq!(stream.shown(&loki).await, stream.lines(|entry| entry.1.contains("behind")));

    // With too many labels Loki rejects all entries of the stream.
    let mut stream = Stream::new("labels", 7);
    let many: Vec<_> = (0..40).map(|number| format!(r#"l{number}="x""#)).collect();
    stream.labels = format!("{{{}}}", many.join(", "));
    assert_eq!(client.push(&stream).await, Rejections::of(Reason::LabelLimit, 7));
    assert!(client.failures.lock().unwrap().is_empty(), "{:?}", client.failures);

    // Invalid labels: the entries are held.
    for labels in ["{a=}", "{"] {
        stream.labels = labels.to_owned();
        let (trouble, said) = client.first_failure(&stream).await;
        assert_eq!(trouble, Trouble::BadRequest, "{labels}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_collapses_a_resend_with_metadata() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start(&binary).await.unwrap();
    let mut client = Client::new(&loki.push_url());
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
    // A metric query counts stored entries. Resends are not stored.
    assert_eq!(query.number(r#"sum(count_over_time({log_file="dmcproxy"}[1h]))"#).await.unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_takes_less_metadata_at_a_lower_rate_in_smaller_pieces() {
    let Some(binary) = loki() else { return };
    let limits = "allow_structured_metadata: false
  discover_log_levels: false
  ingestion_rate_mb: 1
  ingestion_burst_size_mb: 1
  per_stream_rate_limit: 512KB
  per_stream_rate_limit_burst: 512KB";
    let loki = Loki::start_with(&binary, Setup { schema: "v12", limits, max_push_bytes: 50_000 }).await.unwrap();
    let mut client = Client::new(&loki.push_url());

    let stream = Stream::new("plain", 100);
    for _ in 0..3 {
        assert_eq!(client.push(&stream).await, Rejections::default());
    }
    assert!(!client.metadata.is_on());
    assert_eq!(stream.shown(&loki).await, stream.lines(|_| false));
    assert!(client.failures.lock().unwrap().is_empty(), "{:?}", client.failures);

    // Two megabytes of one stream, whose limits are half a megabyte a second and 50 KB a push.
    let mut stream = Stream::new("flood", 20_000);
    for (time, line) in &mut stream.entries {
        // Text that hardly compresses.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_each_limit_that_a_429_is_about() {
    let Some(binary) = loki() else { return };
    let limits = [
        ("max_global_streams_per_user: 1", Limit::Streams, Code::StreamLimit, "max_global_streams_per_user"),
        (
            "per_stream_rate_limit: 1KB\n  per_stream_rate_limit_burst: 1KB",
            Limit::StreamRate,
            Code::StreamRateLimit,
            "per_stream_rate_limit",
        ),
        (
            "ingestion_rate_mb: 0.01\n  ingestion_burst_size_mb: 0.01",
            Limit::IngestionRate,
            Code::IngestionRateLimit,
            "ingestion_rate_mb",
        ),
    ];
    for (limits, named, code, setting) in limits {
        let loki = Loki::start_with(&binary, Setup { limits, ..Setup::default() }).await.unwrap();
        let mut client = Client::new(&loki.push_url());
        assert_eq!(client.push(&Stream::new("small", 1)).await, Rejections::default());
        let (trouble, said, finding) = client.first_finding(&Stream::new("large", 5000)).await;
        let Trouble::Throttled { limit, .. } = trouble else { unreachable!("{trouble:?}: {said}") };
        assert_eq!((limit, finding.code), (named, code), "{said}");
        assert!(said.starts_with("429") && finding.fix.contains(setting), "{said}; {finding}");
    }
}
