//! The position record: what is remembered of each stream across restarts.
//!
//! The types only. `store` and `journal` keep them on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entries::Chain;
use crate::redaction::Carried;

/// The position record: every stream by the name of its live file.
pub type Record = BTreeMap<String, StreamRecord>;

/// Where one stream stands, and everything that its next entries depend on besides the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// What the next entry's time depends on.
    pub chain: Chain,
    /// The files whose bytes are to be read, in this order. The last one is the live file, where there is one.
    pub queue: Vec<GenerationRecord>,
    /// Rotated files that are read to their end, and looked after in case their writer is slow to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<GenerationRecord>,
    /// The file that was finished last, to tell which rotated files came after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<GenerationRecord>,
    /// The youngest rotated file that there was, in case that one is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<GenerationRecord>,
}

/// The clock for the entries of a generation up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocked {
    /// Holds for the entries that begin below this position.
    pub until: u64,
    /// The present as those entries saw it, in nanoseconds since 1970 UTC.
    pub now: i64,
    /// The time of entries without any, as those entries saw it.
    pub untimed: i64,
}

/// One file: how to know it again, and how far it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was made, where the file system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// How many bytes are acknowledged.
    pub position: u64,
    /// How many bytes at its start are hashed, up to 1 KiB.
    pub head_len: u64,
    /// Their hash.
    pub head_hash: u64,
    /// The hash of the 64 bytes (or fewer) before the position.
    pub marker_hash: u64,
    /// The clock that the next entries are made with, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocked: Option<Clocked>,
    /// Whether it was finished before and has grown since, so that younger files may be finished already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Where a text was taken to end because nothing followed it, as long as that is after the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// What the text before the position leaves open for the redaction of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<Carried>,
    /// Where the file was taken to have ended, though its last line was unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<u64>,
    /// How many bytes it had when it was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}
