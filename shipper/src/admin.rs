//! `/status`: how every file stands, and what pushing waits for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;

use crate::push::Failure;
use crate::tail::FileState;

/// What `/status` answers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// One entry a log file.
    pub files: Vec<FileStatus>,
    /// Why the last attempt to push failed, until one succeeds.
    pub trouble: Option<TroubleStatus>,
    /// What is wrong with the settings; then nothing is shipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What is waited for before anything is shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Entries acknowledged since the start.
    pub entries_pushed: u64,
}

/// What keeps pushing, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct TroubleStatus {
    /// One stable word, the same as in the log and the metrics.
    pub reason: &'static str,
    /// What was answered, or what kept an answer from coming.
    pub answer: String,
    /// What somebody has to do.
    pub fix: String,
}

/// How one file stands.
#[derive(Clone, Debug, Serialize)]
pub struct FileStatus {
    /// The live file's name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many files there are to read: the live one, and those that were rotated away unread.
    pub generations: usize,
    /// Bytes read of the oldest of them.
    pub position: u64,
    /// Bytes acknowledged of it, if anything was since the start.
    pub acknowledged: Option<u64>,
    /// Bytes that are not handed out yet, rotated files included.
    pub lag_bytes: u64,
    /// How long the oldest byte waits that Loki has not acknowledged.
    pub oldest_unacknowledged_seconds: Option<u64>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// The status, shared between those who know and those who ask.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus(Arc<Mutex<Known>>);

/// What is known, times as instants.
#[derive(Debug, Default)]
struct Known {
    status: Status,
    files: Vec<FileState>,
    /// By file: since when the batches wait that are handed out, oldest first, and how far the file is acknowledged.
    pushes: BTreeMap<Arc<str>, Pushes>,
}

#[derive(Debug, Default)]
struct Pushes {
    waiting: VecDeque<Option<Instant>>,
    acknowledged: Option<u64>,
}

impl SharedStatus {
    /// The state of the files as of now.
    pub fn files(&self, files: Vec<FileState>) {
        self.change(|known| known.files = files);
    }

    /// A batch of a file was made, the first byte of which came at this time.
    pub fn handed_out(&self, file: &Arc<str>, since: Option<Instant>) {
        self.change(|known| known.pushes.entry(file.clone()).or_default().waiting.push_back(since));
    }

    /// The oldest batch of a file that was handed out is acknowledged, up to this position.
    pub fn acknowledged(&self, file: &Arc<str>, position: Option<u64>) {
        self.change(|known| {
            let pushes = known.pushes.entry(file.clone()).or_default();
            pushes.waiting.pop_front();
            pushes.acknowledged = position.or(pushes.acknowledged);
        });
    }

    /// How long the oldest byte of all files waits that is not acknowledged.
    pub fn oldest_unacknowledged(&self, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = known.files.iter().filter_map(|file| known.unacknowledged_since(file)).min();
        oldest.map(|since| now.saturating_duration_since(since))
    }

    /// A push failed.
    pub fn trouble(&self, failure: &Failure<'_>) {
        let trouble = TroubleStatus {
            reason: failure.trouble.reason(),
            answer: failure.said.to_owned(),
            fix: failure.fix.to_owned(),
        };
        self.change(|known| known.status.trouble = Some(trouble));
    }

    /// The settings cannot be used.
    pub fn faults(&self, faults: &[String]) {
        self.change(|known| known.status.faults = faults.to_vec());
    }

    /// Shipping cannot begin for this reason, or there is none any more.
    pub fn waits_for(&self, what: Option<String>) {
        self.change(|known| known.status.waits_for = what);
    }

    /// A push was acknowledged.
    pub fn pushed(&self, entries: usize) {
        self.change(|known| {
            known.status.trouble = None;
            known.status.entries_pushed += entries as u64;
        });
    }

    /// What is known by now.
    pub fn get(&self, now: Instant) -> Status {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = known.files.iter().map(|file| known.file(file, now)).collect();
        Status { files, ..known.status.clone() }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Known {
    fn unacknowledged_since(&self, file: &FileState) -> Option<Instant> {
        let pushed = self.pushes.get(&file.name).and_then(|pushes| pushes.waiting.iter().flatten().min().copied());
        pushed.into_iter().chain(file.unread_since).min()
    }

    fn file(&self, file: &FileState, now: Instant) -> FileStatus {
        let since = self.unacknowledged_since(file);
        FileStatus {
            file: file.name.to_string(),
            size: file.size,
            generations: file.generations,
            position: file.position,
            acknowledged: self.pushes.get(&file.name).and_then(|pushes| pushes.acknowledged),
            lag_bytes: file.unread,
            oldest_unacknowledged_seconds: since.map(|since| now.saturating_duration_since(since).as_secs()),
            error: file.error.clone(),
        }
    }
}

/// The route that is the shipper's own.
pub fn routes(status: SharedStatus) -> Router {
    Router::new()
        .route(
            "/status",
            get(|State(status): State<SharedStatus>| async move { axum::Json(status.get(Instant::now())) }),
        )
        .with_state(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unread_since: Option<Instant>) -> FileState {
        let name = "a.log".into();
        FileState { name, size: 30, position: 20, unread: 10, unread_since, generations: 1, error: None }
    }

    #[test]
    fn tells_how_long_the_oldest_byte_waits_that_is_not_acknowledged() {
        let (status, start, file) = (SharedStatus::default(), Instant::now(), Arc::from("a.log"));
        let after = |seconds| start + Duration::from_secs(seconds);
        let age = || status.get(after(9)).files.remove(0).oldest_unacknowledged_seconds;
        status.files(vec![state(Some(after(3)))]);
        assert_eq!(age(), Some(6));
        status.handed_out(&file, Some(after(1)));
        status.handed_out(&file, Some(after(2)));
        assert_eq!(age(), Some(8));
        assert_eq!(status.oldest_unacknowledged(after(9)), Some(Duration::from_secs(8)));
        status.acknowledged(&file, Some(10));
        assert_eq!(age(), Some(7));
        status.acknowledged(&file, Some(20));
        status.files(vec![state(None)]);
        assert_eq!(age(), None);
        assert_eq!(status.get(start).files.remove(0).acknowledged, Some(20));
    }
}
