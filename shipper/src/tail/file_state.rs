//! The state of one file, as the tail reports it.

use std::sync::Arc;
use std::time::Instant;

/// The state of one file, for `/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The live file's name.
    pub name: Arc<str>,
    /// Its size at the last scan.
    pub size: u64,
    /// The next byte to read in the oldest unfinished generation.
    pub position: u64,
    /// Unread bytes, rotated files included.
    pub unread: u64,
    /// Since when the oldest unread byte waits.
    pub unread_since: Option<Instant>,
    /// The inode of the oldest unfinished generation, and when that file grew last.
    pub front: Option<(u64, Instant)>,
    /// How many files are in the queue, the live file included.
    pub generations: usize,
    /// Why the file cannot be read.
    pub error: Option<String>,
}
