//! A client with a Loki in memory, and the failures that the client reports.

use std::path::PathBuf;
pub(crate) use std::sync::Mutex;
pub(crate) use std::time::Duration;

pub(crate) use bytes::Bytes;
pub(crate) use hyper::{Method, Uri};
use redis_log_shipper::batch::{BatchBuffer, MetadataSwitch};
pub(crate) use redis_log_shipper::push::ConnectionFault;
pub(crate) use redis_log_shipper::push::answer::{Limit, Trouble};
pub(crate) use redis_log_shipper::push::rejections::{Reason, Rejections};
use redis_log_shipper::push::{Loki, PushSettings};
pub(crate) use testing::Log;
pub(crate) use tokio::time::Instant;

pub(crate) use crate::receiver::{Answer, Push, Receiver};

const LABELS: &str = r#"{job="redis", log_file="dmcproxy"}"#;
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A client of a receiver, and its failures.
pub(crate) struct World {
    pub(crate) receiver: Receiver,
    pub(crate) loki: Loki<Receiver>,
    pub(crate) metadata: MetadataSwitch,
    pub(crate) failures: Mutex<Vec<(Trouble, String)>>,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self::with(receiver, |_, _| {})
    }

    /// As [`Self::new`]; `change` changes the settings and gets the directory for files.
    pub(crate) fn with(receiver: Receiver, change: impl FnOnce(&mut PushSettings, &std::path::Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = Uri::from_static("http://loki.test/api/logs/v1/application/loki/api/v1/push");
        let mut settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
        change(&mut settings, dir.path());
        let metadata = MetadataSwitch::default();
        let loki = Loki::over(receiver.clone(), settings, metadata.clone());
        Self { receiver, loki, metadata, failures: Mutex::default(), dir }
    }

    /// As [`Self::new`], with a token file that contains `one`.
    pub(crate) fn with_token(receiver: Receiver) -> Self {
        let world = Self::with(receiver, |settings, dir| settings.token_file = Some(dir.join("token")));
        std::fs::write(world.token(), "one").unwrap();
        world
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    pub(crate) async fn push(&mut self, (body, entries): (Bytes, usize)) -> Rejections {
        let failures = &self.failures;
        let heard = |failure: &redis_log_shipper::push::Failure<'_>| {
            failures.lock().unwrap().push((failure.trouble.clone(), failure.answer.to_owned()));
        };
        self.loki.push(&body, entries, heard).await
    }

    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.failures.lock().unwrap().iter().map(|(trouble, _)| trouble.clone()).collect()
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.receiver.pushes().into_iter().map(|push| push.body).collect()
    }
}

/// A batch of these lines, and their number.
pub(crate) fn batch(lines: &[String]) -> (Bytes, usize) {
    let mut buffer = BatchBuffer::new(64 << 20);
    buffer.start(LABELS, "dmcproxy.log");
    for (time, line) in lines.iter().enumerate() {
        buffer.push(i64::try_from(time).unwrap(), line.as_bytes(), None);
    }
    (buffer.seal(LABELS).0, lines.len())
}

pub(crate) fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("2026-02-20 22:31:07,000 INFO line {number}")).collect()
}

/// Answers `text` to each push with a line that contains `poison`, and stores all others.
pub(crate) fn refuses(poison: &'static str, status: u16, text: &'static str) -> impl FnMut(&Push) -> Answer {
    move |push| {
        if push.streams.is_empty() {
            return Answer::refused(422, "error at least one valid stream is required for ingestion");
        }
        let poisoned = push.lines().any(|line| line.contains(poison));
        if poisoned { Answer::refused(status, text) } else { Answer::Stored }
    }
}

/// The client pushes the same bytes again after `answer`, and the second push is stored.
pub(crate) async fn holds_and_resends(answer: Answer, trouble: Trouble) {
    let mut world = World::new(Receiver::scripted([answer.clone()]));
    let lines = lines(3);
    assert_eq!(world.push(batch(&lines)).await, Rejections::default(), "{answer:?}");
    assert_eq!(world.troubles(), [trouble], "{answer:?}");
    let [first, second] = <[Bytes; 2]>::try_from(world.bodies()).unwrap();
    assert_eq!(first, second, "{answer:?}");
    assert_eq!(world.receiver.shown(), lines, "{answer:?}");
}
