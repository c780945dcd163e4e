//! The Loki of a world: the shipper's own client, on a paused clock, against a receiver in memory that misbehaves on
//! demand.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use redis_log_shipper::batch::MetadataSwitch;
use redis_log_shipper::push::{Loki as Client, PushSettings};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::receiver::{Answer, Push, Receiver};

/// Loki rejects a line with this word, and names it. It stores the other lines.
pub(crate) const REJECTED: &str = "rejected";
/// Loki refuses a whole push with this word, with an unknown message.
pub(crate) const POISON: &str = "poison";

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Loki stores and acknowledges it.
    Acknowledged,
    /// Loki stores it, and the shipper dies before the answer.
    Stored,
    /// The shipper dies, and Loki stores nothing.
    Lost,
}

/// What Loki or a proxy before it does to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whim {
    /// Nothing special.
    None,
    /// Refuses it with this status.
    Refuses(u16),
    /// Answers 429 with a `Retry-After`.
    Throttles,
    /// Refuses more than one entry with 413.
    TooLarge,
    /// Refuses structured metadata.
    NoMetadata,
    /// Stores it, and the answer gets lost.
    Silent,
    /// Breaks the connection.
    Resets,
    /// Never answers.
    Hangs,
}

impl Whim {
    fn answer(self, push: &Push, clock: i64) -> Option<Answer> {
        let entries: usize = push.streams.iter().map(|stream| stream.entries.len()).sum();
        let has_metadata = push.streams.iter().flat_map(|stream| &stream.metadata).any(|pairs| !pairs.is_empty());
        match self {
            Self::None => None,
            Self::Refuses(status) => Some(Answer::refused(status, "")),
            Self::Throttles => Some(Answer::RefusedWith(429, "retry-after", "7".to_owned())),
            Self::TooLarge => (entries > 1).then(|| Answer::refused(413, "")),
            Self::NoMetadata => has_metadata.then(|| {
                Answer::refused(400, "stream '{}' includes structured metadata, but this feature is disallowed")
            }),
            Self::Silent => Some(stored(push, Answer::StoredInSilence, clock)),
            Self::Resets => Some(Answer::Reset),
            Self::Hangs => Some(Answer::Nothing),
        }
    }
}

/// Stores a push except the rejected lines and the entries too far ahead of `clock`.
fn stored(push: &Push, how: Answer, clock: i64) -> Answer {
    if push.lines().any(|line| line.contains(POISON)) {
        return Answer::refused(400, "no");
    }
    let latest = clock + GRACE;
    if push.streams.iter().flat_map(|stream| &stream.entries).any(|(time, _)| *time > latest) {
        if push.lines().any(|line| line.contains(REJECTED)) {
            return Answer::refused(400, "entry for stream '{}' has timestamp too new: x");
        }
        return Answer::StoredUpTo(latest);
    }
    if push.lines().any(|line| line.contains(REJECTED)) {
        return Answer::StoredExcept(REJECTED, "entry for stream '{}' has timestamp too old: 2026-01-01");
    }
    how
}

/// An entry further ahead of Loki's clock is too new.
const GRACE: i64 = 10 * 60 * 1_000_000_000;

/// The next answers.
#[derive(Default)]
struct Script {
    /// Loki's clock when its runtime started. It is always right.
    clock: i64,
    whims: VecDeque<Whim>,
    /// How the shipper dies after the last whim.
    end: Option<Fate>,
}

/// The client and the receiver.
pub(crate) struct Loki {
    runtime: Runtime,
    receiver: Receiver,
    client: Client<Receiver>,
    script: Arc<Mutex<Script>>,
    died: Arc<Notify>,
}

impl Loki {
    pub(crate) fn new(clock: i64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (script, died) = (Arc::<Mutex<Script>>::default(), Arc::new(Notify::new()));
        script.lock().unwrap().clock = clock;
        let start = runtime.block_on(async { Instant::now() });
        let receiver = Receiver::new(rule(script.clone(), died.clone(), start));
        let client = runtime.block_on(async { client_of(&receiver) });
        Self { runtime, receiver, client, script, died }
    }

    /// Adds a whim for one of the next requests.
    pub(crate) fn expect(&self, whim: Whim) {
        self.script.lock().unwrap().whims.push_back(whim);
    }

    /// Moves Loki's clock.
    pub(crate) fn pass(&self, time: Duration) {
        self.script.lock().unwrap().clock += i64::try_from(time.as_nanos()).unwrap();
    }

    /// Pushes a batch. Returns whether the shipper lived to receive the acknowledgement.
    pub(crate) fn push(&mut self, body: &Bytes, entries: usize, fate: Fate) -> bool {
        self.script.lock().unwrap().end = Some(fate).filter(|fate| *fate != Fate::Acknowledged);
        let (client, died) = (&mut self.client, &self.died);
        let lives = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = died.notified() => false,
                _rejected = client.push(body, entries, |_| {}) => fate == Fate::Acknowledged,
            }
        });
        if !lives {
            self.client = self.runtime.block_on(async { client_of(&self.receiver) });
        }
        self.script.lock().unwrap().end = None;
        lives
    }

    /// The visible entries by stream and time. Entries with the same stream, time and text are one.
    pub(crate) fn shows(&self) -> BTreeMap<(String, i64), Vec<String>> {
        let mut shown = BTreeMap::<_, Vec<String>>::new();
        for (labels, time, line) in self.receiver.stored() {
            let at = shown.entry((labels, time)).or_default();
            if !at.contains(&line) {
                at.push(line);
            }
        }
        shown
    }
}

fn rule(script: Arc<Mutex<Script>>, died: Arc<Notify>, start: Instant) -> impl FnMut(&Push) -> Answer + Send {
    move |push| {
        if push.streams.is_empty() {
            return Answer::refused(422, "error at least one valid stream is required for ingestion");
        }
        let mut script = script.lock().unwrap();
        let clock = script.clock + i64::try_from(start.elapsed().as_nanos()).unwrap();
        if let Some(whim) = script.whims.pop_front() {
            return whim.answer(push, clock).unwrap_or_else(|| stored(push, Answer::Stored, clock));
        }
        match script.end.take() {
            None => stored(push, Answer::Stored, clock),
            Some(fate) => {
                died.notify_one();
                if fate == Fate::Stored { stored(push, Answer::StoredInSilence, clock) } else { Answer::Nothing }
            }
        }
    }
}

fn client_of(receiver: &Receiver) -> Client<Receiver> {
    let settings = PushSettings {
        url: Uri::from_static("http://loki.test/loki/api/v1/push"),
        token_file: None,
        // Without this file the client loads the system's CA files, which takes long.
        ca_files: vec![PathBuf::from("no-such-file")],
        rate_limit: None,
    };
    Client::over(receiver.clone(), settings, MetadataSwitch::default())
}
