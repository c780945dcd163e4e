//! The compared time range.

/// The times of a line in its file and in Loki differ by less than this.
const TOLERANCE: i64 = 1_000_000_000;
/// One millisecond in nanoseconds.
pub(crate) const MILLISECOND: i64 = 1_000_000;

/// A time range in nanoseconds since 1970 UTC, in whole milliseconds. The end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Range {
    pub(super) fn holds(self, time: i64) -> bool {
        (self.from..self.to).contains(&time)
    }

    /// The range with the tolerance on both sides.
    pub(crate) fn wide(self) -> Self {
        Self { from: self.from.saturating_sub(TOLERANCE), to: self.to.saturating_add(TOLERANCE) }
    }
}
