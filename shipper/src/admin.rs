//! `/status`: how every file stands, and what pushing waits for.

use std::sync::{Arc, Mutex, PoisonError};

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
    /// Bytes read, of the file that is being read.
    pub position: u64,
    /// Bytes that are not handed out yet, rotated files included.
    pub lag_bytes: u64,
}

/// The status, shared between those who know and those who ask.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    /// The state of the files as of now.
    pub fn files(&self, files: &[FileState]) {
        self.change(|status| {
            status.files = files
                .iter()
                .map(|file| FileStatus {
                    file: file.name.to_string(),
                    size: file.size,
                    position: file.size.saturating_sub(file.unread),
                    lag_bytes: file.unread,
                })
                .collect();
        });
    }

    /// A push failed.
    pub fn trouble(&self, failure: &Failure<'_>) {
        let trouble = TroubleStatus {
            reason: failure.trouble.reason(),
            answer: failure.said.to_owned(),
            fix: failure.fix.to_owned(),
        };
        self.change(|status| status.trouble = Some(trouble));
    }

    /// The settings cannot be used.
    pub fn faults(&self, faults: &[String]) {
        self.change(|status| status.faults = faults.to_vec());
    }

    /// Shipping cannot begin for this reason, or there is none any more.
    pub fn waits_for(&self, what: Option<String>) {
        self.change(|status| status.waits_for = what);
    }

    /// A push was acknowledged.
    pub fn pushed(&self, entries: usize) {
        self.change(|status| {
            status.trouble = None;
            status.entries_pushed += entries as u64;
        });
    }

    /// A copy of what is known.
    pub fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The route that is the shipper's own.
pub fn routes(status: SharedStatus) -> Router {
    Router::new()
        .route("/status", get(|State(status): State<SharedStatus>| async move { axum::Json(status.get()) }))
        .with_state(status)
}
