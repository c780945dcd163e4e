//! Counts how often each line is written, acknowledged and shown. No I/O.

use std::collections::HashMap;

/// The lines of one stream.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<u64, Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Acknowledged, with a time in the range.
    acknowledged: u64,
    /// In the files, with a time in the range or just outside.
    written: u64,
    /// Shown, with a time in the range.
    shown: u64,
    /// Shown, with a time in the range or just outside.
    shown_around: u64,
    /// The earliest time in the range.
    time: Option<i64>,
}

impl Counts {
    fn at(&mut self, time: i64) {
        self.time = Some(self.time.map_or(time, |first| first.min(time)));
    }

    fn lost(&self) -> u64 {
        self.acknowledged.saturating_sub(self.shown_around)
    }

    fn doubled(&self) -> u64 {
        if self.written == 0 { 0 } else { self.shown.saturating_sub(self.written) }
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It is acknowledged, and Loki does not show it.
    Lost,
    /// Loki shows it more often than it is written.
    Doubled,
}

/// The first line that is lost or doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// When, in nanoseconds since 1970 UTC.
    pub(crate) time: i64,
    pub(crate) kind: Kind,
    /// The hash of the line.
    pub(crate) hash: u64,
}

/// The totals of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) acknowledged: u64,
    pub(crate) shown: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Shown lines that are in no file any more.
    pub(crate) without_file: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.shown += other.shown;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.without_file += other.without_file;
    }
}

impl Tally {
    /// Adds an acknowledged line of the range.
    pub(super) fn acknowledged(&mut self, hash: u64, time: i64) {
        let counts = self.0.entry(hash).or_default();
        counts.acknowledged += 1;
        counts.at(time);
    }

    /// Adds a line of a file in the range or just outside.
    pub(super) fn written(&mut self, hash: u64) {
        self.0.entry(hash).or_default().written += 1;
    }

    /// Adds a shown line in the range (`inside`) or just outside.
    pub(super) fn shown(&mut self, hash: u64, time: i64, inside: bool) {
        let counts = self.0.entry(hash).or_default();
        counts.shown_around += 1;
        if inside {
            counts.shown += 1;
            counts.at(time);
        }
    }

    /// The totals.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for counts in self.0.values() {
            totals.acknowledged += counts.acknowledged;
            totals.shown += counts.shown;
            totals.lost += counts.lost();
            totals.doubled += counts.doubled();
            totals.without_file += if counts.written == 0 { counts.shown } else { 0 };
        }
        totals
    }

    /// The lost or doubled line with the earliest time.
    pub(crate) fn first_difference(&self) -> Option<Difference> {
        let kind = |counts: &Counts| match (counts.lost(), counts.doubled()) {
            (0, 0) => None,
            (0, _) => Some(Kind::Doubled),
            _ => Some(Kind::Lost),
        };
        let differences = self
            .0
            .iter()
            .filter_map(|(hash, counts)| Some(Difference { time: counts.time?, kind: kind(counts)?, hash: *hash }));
        differences.min_by_key(|difference| (difference.time, difference.kind, difference.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines 1 and 2 are written and acknowledged.
    fn written() -> Tally {
        let mut tally = Tally::default();
        for line in [1, 2] {
            tally.written(line);
            tally.acknowledged(line, 10 * line.cast_signed());
        }
        tally
    }

    #[test]
    fn finds_no_difference_if_every_line_is_shown_once() {
        let mut tally = written();
        tally.shown(1, 10, true);
        // Its time in Loki lies just outside of the range.
        tally.shown(2, 30, false);
        assert_eq!(tally.totals(), Totals { acknowledged: 2, shown: 1, ..Totals::default() });
        assert_eq!(tally.first_difference(), None);
    }

    #[test]
    fn finds_the_first_lost_line() {
        let tally = written();
        assert_eq!(tally.totals().lost, 2);
        assert_eq!(tally.first_difference(), Some(Difference { time: 10, kind: Kind::Lost, hash: 1 }));
    }

    #[test]
    fn finds_a_doubled_line_but_accepts_equal_lines_that_are_written_twice() {
        let mut tally = written();
        tally.written(1);
        tally.acknowledged(1, 11);
        for time in [10, 11] {
            tally.shown(1, time, true);
        }
        for time in [20, 21, 22] {
            tally.shown(2, time, true);
        }
        let totals = tally.totals();
        assert_eq!((totals.lost, totals.doubled), (0, 2));
        assert_eq!(tally.first_difference(), Some(Difference { time: 20, kind: Kind::Doubled, hash: 2 }));
    }

    #[test]
    fn accepts_shown_lines_that_are_not_acknowledged_yet_or_whose_file_is_gone() {
        let mut tally = written();
        tally.written(3);
        for (line, time) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
            tally.shown(line, time, true);
        }
        let totals = Totals { acknowledged: 2, shown: 4, without_file: 1, ..Totals::default() };
        assert_eq!(tally.totals(), totals);
    }
}
