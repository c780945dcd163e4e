//! How much the tail takes: deleted files on disk, descriptors, streams. Redis needs them, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// At most this many bytes of deleted files are kept open.
pub const DELETED: u64 = 256 << 20;

/// Descriptors reserved for everything other than log files.
const OTHER_FILES: u64 = 64;

/// At most this many streams are followed: a hundred times the log files of a Redis Enterprise node. Their positions fit
/// into a position file, and a scan of all of them takes a few milliseconds.
const MAX_FOLLOWED: usize = 2048;

/// At most this many files have their own stream in Loki, which limits the streams of a tenant. It is ten times the log
/// files of a Redis Enterprise node.
const MAX_STREAMS: usize = 256;

/// The limits of a tail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// At most this many bytes of deleted files are kept open.
    pub(super) deleted_bytes: u64,
    /// At most this many files are open.
    pub(super) open_files: usize,
    /// At most this many streams are followed at a time.
    pub(super) followed: usize,
    /// At most this many files have their own stream in Loki.
    pub(super) streams: usize,
}

impl Limits {
    /// The limits of this process. Raises its limit of open files first.
    pub(super) fn of_this_process() -> Self {
        Self { deleted_bytes: DELETED, open_files: max_open(), followed: MAX_FOLLOWED, streams: MAX_STREAMS }
    }
}

/// Which reasons for leaving files out are logged already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AlreadyLogged {
    /// Log files that are not followed.
    pub(super) too_many: bool,
    /// Log files that share a stream.
    pub(super) sharing: bool,
    /// Log files whose names are not UTF-8.
    pub(super) invalid_names: bool,
}

/// How many log files may be open at a time. Raises the process's limit to the highest allowed value first.
fn max_open() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX))
}
