//! The time as the tail gets it: one value for both clocks, so that a test decides what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The current time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock, for waiting.
    pub instant: Instant,
    /// The wall clock, for timestamps, in nanoseconds since 1970 UTC.
    pub clock: i64,
}

impl Now {
    /// Reads the system's clocks.
    pub fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), clock: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }
    }
}
