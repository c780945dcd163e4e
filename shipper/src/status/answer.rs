//! The JSON types of `/status`.

use std::collections::BTreeMap;

use findings::{Finding, Severity};
use serde::Serialize;

/// The answer of `/status`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// The answer of `/ready`: whether shipping has begun.
    pub ready: bool,
    /// One element per log file.
    pub files: Vec<FileStatus>,
    /// What is wrong now, at most one finding of each code, the worst first.
    pub findings: Vec<FindingStatus>,
    /// Why the last attempt to push failed, until one succeeds.
    pub trouble: Option<TroubleStatus>,
    /// The errors of the settings. While there are any, nothing is shipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The runtime configuration, if there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_config: Option<RuntimeConfigStatus>,
    /// Why shipping cannot begin yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Entries acknowledged since the start.
    pub entries_pushed: u64,
    /// Entries that were dropped since the start, by drop rule.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// The smallest value of all files.
    pub seconds_until_loss: Option<u64>,
}

/// How the runtime configuration stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuntimeConfigStatus {
    /// The file.
    pub file: String,
    /// `absent`, `in_use`, or `invalid`.
    pub state: &'static str,
    /// What is wrong with the file. Its last valid content stays in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Why a push failed, and how to fix it.
#[derive(Clone, Debug, Serialize)]
pub struct TroubleStatus {
    /// The file of the batch.
    pub file: String,
    /// One stable word, the same as in the log and the metrics.
    pub reason: &'static str,
    /// The answer, or why there was none.
    pub answer: String,
    /// What is wrong.
    #[serde(flatten)]
    pub finding: FindingStatus,
}

/// What is wrong, and how to fix it: the code, the problem and the fix are the same as in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingStatus {
    /// The code, the problem and the fix.
    #[serde(flatten)]
    pub finding: Finding,
    /// How bad it is.
    pub severity: Severity,
    /// The section of the documentation that explains the code.
    pub docs: String,
}

impl From<Finding> for FindingStatus {
    fn from(finding: Finding) -> Self {
        Self { severity: finding.severity(), docs: finding.url(), finding }
    }
}

/// The state of one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileStatus {
    /// The live file's name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// The inode of the file that is being shipped: the oldest unfinished rotated file, or else the live file.
    pub generation: Option<u64>,
    /// The number of files to ship, including the live file.
    pub generations: usize,
    /// The acknowledged bytes of this file, which are not read again after a restart.
    pub position: u64,
    /// The bytes that Loki has not acknowledged, including rotated files.
    pub lag_bytes: u64,
    /// How long the oldest of these bytes has waited.
    pub oldest_unacknowledged_seconds: Option<u64>,
    /// When log rotation deletes the oldest of these bytes if Loki acknowledges nothing more. `None` if they have waited for less
    /// than a minute.
    pub seconds_until_loss: Option<u64>,
    /// Why it cannot be read now, or why its lines cannot be pushed.
    pub error: Option<String>,
    /// Its last error, even if that is over.
    pub last_error: Option<LastError>,
}

/// An error of a file, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// The error.
    pub what: String,
    /// How long ago it happened last.
    pub seconds_ago: u64,
}
