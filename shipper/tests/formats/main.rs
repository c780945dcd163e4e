//! Samples of every format, and the entries that come of them. `README.md` says who wrote the samples.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use globset::Glob;
use prometheus_client::registry::Registry;
use redis_log_shipper::discover::Discovery;
use redis_log_shipper::formats::Format;
use redis_log_shipper::metrics::Metrics;
use redis_log_shipper::push::decode::decode;
use redis_log_shipper::state::Record;
use redis_log_shipper::tail::{Now, Tail, TailSettings};

/// 2026-12-01 00:00:00 UTC, after every sample was written.
const NOW: i64 = 1_796_083_200_000_000_000;

fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut samples: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    samples.sort();
    samples
}

/// What the shipper makes of a log file: its format, and a line for each entry. The process is started anew after so many batches
/// of so many bytes.
fn entries(sample: &Path, batch_bytes: usize, restarts: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(sample, dir.path().join("a.log")).unwrap();
    let max_age = Duration::from_hours(24 * 365 * 10);
    let settings = TailSettings { max_age, batch_bytes, ..TailSettings::default() };
    let mut now = Now { instant: Instant::now(), clock: NOW };
    let mut record = Record::new();
    let start = |record: &Record, now: Now| {
        let discovery = Discovery::new(dir.path().to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
        Tail::resume(discovery, settings.clone(), record, Metrics::register(&mut Registry::default()), now).unwrap()
    };
    let mut tail = start(&record, now);
    let mut text = String::new();
    for _ in 0..10 {
        now.instant += Duration::from_secs(1);
        tail.scan(now).unwrap();
        while let Some(batch) = tail.next_batch(now, true) {
            record.extend(batch.before);
            if !batch.body.is_empty() {
                describe(&batch.body, &mut text);
            }
            record.extend(batch.after.map(|after| (batch.name.to_string(), after)));
            if restarts {
                tail = start(&record, now);
            }
        }
    }
    let format = record.values().next().unwrap().chain.format.map_or("none", Format::name);
    format!("format: {format}\n{text}")
}

fn describe(body: &[u8], text: &mut String) {
    let stream = decode(body).unwrap().remove(0);
    for ((time, entry), metadata) in stream.entries.iter().zip(&stream.metadata) {
        let time = jiff::Timestamp::from_nanosecond(i128::from(*time)).unwrap();
        write!(text, "{time:.9}").unwrap();
        for (name, value) in metadata.iter().filter(|(name, _)| name != "filename") {
            write!(text, " {name}={value}").unwrap();
        }
        let more = entry.lines().count().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} lines)") };
        writeln!(text, " | {}{more}", entry.lines().next().unwrap_or_default()).unwrap();
    }
}

#[test]
fn makes_the_golden_entries_of_every_sample() {
    for sample in samples() {
        let golden = sample.with_extension("golden");
        let made = entries(&sample, 1 << 20, false);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &made).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(made == expected, "{}:\n{made}", sample.display());
    }
}

#[test]
fn makes_the_same_entries_wherever_a_restart_comes() {
    for sample in samples() {
        let whole = entries(&sample, 1 << 20, false);
        assert_eq!(entries(&sample, 200, true), whole, "{}", sample.display());
    }
}

#[test]
fn has_a_sample_of_every_format() {
    let detected: BTreeSet<_> = samples().iter().map(|sample| entries(sample, 1 << 20, false)).collect();
    for format in Format::all() {
        let line = format!("format: {}\n", format.name());
        assert!(detected.iter().any(|entries| entries.starts_with(&line)), "no sample of {}", format.name());
    }
}
