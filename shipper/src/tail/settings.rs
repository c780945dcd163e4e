//! The settings of the tail: sizes, waits, labels, redaction and drop rules.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::content::Content;
use crate::drop::DropRule;
use crate::extract::EntryLimits;
use crate::labels::Labels;
use crate::redaction::Redaction;

/// At least this many bytes of a file are read at once. They fit into the processor's cache.
pub(super) const CHUNK: usize = 256 << 10;

/// The settings of the tail. They do not change.
#[derive(Clone, Debug)]
pub struct TailSettings {
    /// The largest push, uncompressed, in bytes.
    pub batch_bytes: usize,
    /// How long lines wait for others if they do not fill a push.
    pub batch_wait: Duration,
    /// The longest line in bytes. Longer lines are split.
    pub max_line: usize,
    /// Older entries are skipped, because Loki rejects them.
    pub max_age: Duration,
    /// The time zone of timestamps without one.
    pub zone: TimeZone,
    /// Whether a line without a timestamp continues the line before it.
    pub multiline: bool,
    /// The labels that all streams share.
    pub labels: Labels,
    /// Which secrets are replaced.
    pub redaction: Redaction,
    /// Which entries are dropped.
    pub drop: Vec<DropRule>,
}

impl Default for TailSettings {
    /// The defaults of the command line.
    fn default() -> Self {
        Self {
            batch_bytes: 1 << 20,
            batch_wait: Duration::from_secs(1),
            max_line: 250_000,
            max_age: Duration::from_hours(168),
            zone: TimeZone::UTC,
            multiline: true,
            labels: Labels::default(),
            redaction: Redaction::default(),
            drop: Vec::new(),
        }
    }
}

impl TailSettings {
    /// How many bytes of a file are read at once: enough for the longest line, its line ending, and the marker before it.
    pub(crate) fn chunk_bytes(&self) -> usize {
        CHUNK.max(self.max_line + 4096)
    }

    /// What bounds entries.
    pub(crate) fn entry_limits(&self) -> EntryLimits {
        EntryLimits { max_line: self.max_line, max_age: self.max_age, multiline: self.multiline }
    }

    /// The memory for the one archive that is decompressed at a time.
    pub(crate) fn archive_bytes(&self) -> usize {
        Content::memory(self.chunk_bytes())
    }
}
