//! What `/status` answers: the JSON types.

use std::collections::BTreeMap;

use findings::Code;
use serde::Serialize;

/// What `/status` answers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// What `/ready` says: whether anything is shipped.
    pub ready: bool,
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
    /// Entries that a drop rule kept from being pushed since the start, by rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// The least of those of the files.
    pub seconds_until_loss: Option<u64>,
}

/// What keeps pushing, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct TroubleStatus {
    /// The file of which a batch was being pushed.
    pub file: String,
    /// The stable code of the finding, the same as in the log, the metrics and the documentation.
    pub code: Code,
    /// One stable word, the same as in the log and the metrics.
    pub reason: &'static str,
    /// What was answered, or what kept an answer from coming.
    pub answer: String,
    /// What is wrong.
    pub problem: String,
    /// How to fix it.
    pub fix: String,
    /// The section of the documentation that explains the code.
    pub docs: String,
}

/// How one file stands.
#[derive(Clone, Debug, Serialize)]
pub struct FileStatus {
    /// The live file's name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// The inode of the file that is being shipped: the live one, or the oldest of those that were rotated away before they
    /// were shipped.
    pub generation: Option<u64>,
    /// How many files there are to ship, the live one included.
    pub generations: usize,
    /// Bytes of that generation that Loki has acknowledged, and that are not read again after a restart.
    pub position: u64,
    /// Bytes that Loki has not acknowledged, rotated files included.
    pub lag_bytes: u64,
    /// How long the oldest of them waits.
    pub oldest_unacknowledged_seconds: Option<u64>,
    /// When log rotation deletes the oldest of them, if Loki acknowledges nothing more. `None` if none has waited for a
    /// minute.
    pub seconds_until_loss: Option<u64>,
    /// Why it cannot be read, or its lines cannot be pushed, now.
    pub error: Option<String>,
    /// What went wrong with it last, whether that is over or not.
    pub last_error: Option<LastError>,
}

/// What went wrong with a file, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// What.
    pub what: String,
    /// How long ago it was noticed last.
    pub seconds_ago: u64,
}
