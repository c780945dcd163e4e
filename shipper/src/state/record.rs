//! The position record: the state of each stream across restarts.
//!
//! These are only the types. `store` and `journal` keep them on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entries::Chain;
use crate::redaction::Carried;

/// The position record: all streams, by the name of their live file.
pub type Record = BTreeMap<String, StreamRecord>;

/// The state of one stream: its positions, and everything else that its next entries depend on, except the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The chain of times.
    pub chain: Chain,
    /// The files to read, in this order. The live file comes last, if there is one.
    pub queue: Vec<GenerationRecord>,
    /// Fully read rotated files. They stay open in case their writer has not noticed the rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<GenerationRecord>,
    /// The youngest finished file. Rotated files younger than it are unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<GenerationRecord>,
    /// The youngest rotated file at the last scan. It replaces `anchor` if that file is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<GenerationRecord>,
}

/// The clock that dates the entries of a generation up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocked {
    /// It dates the entries that begin before this position.
    pub until: u64,
    /// The wall clock of these entries, in nanoseconds since 1970 UTC.
    pub now: i64,
    /// The time of lines before the first timestamp of the file.
    pub untimed: i64,
}

/// One file: its identity, and how far Loki has acknowledged it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was created, if the file system says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// The number of acknowledged bytes.
    pub position: u64,
    /// The number of bytes in its head, at most 1 KiB.
    pub head_len: u64,
    /// The hash of its head.
    pub head_hash: u64,
    /// The hash of the 64 bytes (or fewer) before the position.
    pub marker_hash: u64,
    /// The clock of the next entries, if they depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocked: Option<Clocked>,
    /// Whether it grew after it was finished. Then younger files may be finished already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The end of a text that was declared complete because no line followed, if it is after the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// What the text before the position leaves open for the redaction of the next text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<Carried>,
    /// The declared end of a file whose last line is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<u64>,
    /// Its size at the last scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}
