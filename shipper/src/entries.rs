//! Line to entry: when was it?
//!
//! Loki collapses entries of one stream that share timestamp and text. So a resend must carry the very timestamps of the
//! first attempt, and two genuine lines must never share one. Hence the chain: every entry is at least one nanosecond
//! after the entry before it, and everything the chain depends on is in the bytes or in the position record.

use serde::{Deserialize, Serialize};

/// A time further ahead of the clock than this is not believed: one odd line must not push its stream into the future,
/// where Loki rejects the rest.
pub(crate) const BELIEVED_AHEAD: i64 = 10 * 60 * 1_000_000_000;

/// What the time of the next entry depends on, besides its line. Part of the position record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The time of the last entry, in nanoseconds since 1970 UTC.
    pub last: i64,
    /// Whether any line of the stream told its time. From then on a line without one belongs to the line before it.
    pub timed: bool,
    /// The clock as the record on disk knows it. A time that is believed because of it is believed again after a crash,
    /// wherever the clock is set meanwhile.
    #[serde(default)]
    pub clock: i64,
    /// How often the chain started again because the clock had been wrong. Each start shifts the times of all later lines
    /// by a nanosecond, so that equal lines written before and after it do not share a time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u16,
    /// The place among the files that share one stream of Loki; none where the file has a stream of its own. Every time
    /// leaves this remainder when it is divided by the number of slots, so that no two files of one stream share a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
}

/// How many files can share one stream.
pub(crate) const SLOTS: u16 = 4096;

/// The first time from `time` on that belongs to `slot`.
fn in_slot(time: i64, slot: u16) -> i64 {
    let slots = i64::from(SLOTS);
    let wait = (i64::from(slot) - time.rem_euclid(slots)).rem_euclid(slots);
    time.saturating_add(wait)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a function of this kind")]
fn is_zero(restarts: &u16) -> bool {
    *restarts == 0
}

/// What time it is, for entries that need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The present, in nanoseconds since 1970 UTC.
    pub now: i64,
    /// The time of lines in a file that has not told any time yet.
    pub untimed: i64,
}

/// Where an entry's time came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The line itself.
    Line,
    /// The line itself, and only the clock says that it can be.
    Believed,
    /// The entry before it.
    Carried,
    /// The clock: the caller must make sure that a resend sees the same clock.
    Clock,
    /// The entry before it, because the clock says that the line's own time cannot be.
    Disbelieved,
}

impl Source {
    /// Whether another clock could have led to another time.
    pub fn depends_on_clock(self) -> bool {
        matches!(self, Self::Believed | Self::Clock | Self::Disbelieved)
    }

    /// Whether the line told a time that cannot be.
    pub fn is_disbelieved(self) -> bool {
        self == Self::Disbelieved
    }
}

impl Chain {
    /// Says that the record on disk will know this clock before anything else is pushed.
    pub fn knows(&mut self, clock: i64) {
        self.clock = self.clock.max(clock);
    }

    /// Starts again where the last time, or the clock that the record knows, lies so far ahead of the clock `now` that the
    /// clock must have been wrong then: entries dated after it would be refused as too new. Whether it did is returned. The
    /// caller must have it on disk before anything else is pushed.
    pub fn restart(&mut self, now: i64) -> bool {
        let latest = now.saturating_add(BELIEVED_AHEAD);
        if self.last <= latest && self.clock <= latest {
            return false;
        }
        self.clock = now;
        if self.last > latest {
            // Lines that were written a moment ago keep their own times.
            self.last = now.saturating_sub(BELIEVED_AHEAD);
            self.restarts = self.restarts.wrapping_add(1) % 1000;
        }
        true
    }

    /// The time of the entry whose line told this one, or none.
    pub fn next(&mut self, told: Option<i64>, clock: Clock) -> (i64, Source) {
        let after = self.last.saturating_add(1);
        let (time, source) = match told {
            Some(time) if time <= self.clock.max(clock.now).saturating_add(BELIEVED_AHEAD) => {
                self.timed = true;
                let time = time.saturating_add(i64::from(self.restarts));
                let known = time <= self.clock.saturating_add(BELIEVED_AHEAD);
                (time.max(after), if known { Source::Line } else { Source::Believed })
            }
            Some(_) if self.timed => (after, Source::Disbelieved),
            None if self.timed => (after, Source::Carried),
            Some(_) | None => (clock.untimed.max(after), Source::Clock),
        };
        let time = self.slot.map_or(time, |slot| in_slot(time, slot));
        self.last = time;
        (time, source)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::formats::TimeReader;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn times(lines: &[&str], now: i64) -> Vec<(i64, Source)> {
        let clock = Clock { now, untimed: now };
        let (mut chain, mut reader) = (Chain { clock: now, ..Chain::default() }, TimeReader::new(TimeZone::UTC));
        lines.iter().map(|line| chain.next(reader.read(line.as_bytes()), clock)).collect()
    }

    #[test]
    fn carries_the_time_on_to_lines_without_one() {
        let times = times(&["2026-02-20 22:31:07,000 ERROR x", "Traceback", "  File"], NOW);
        assert_eq!(times[1], (times[0].0 + 1, Source::Carried));
        assert_eq!(times[2], (times[0].0 + 2, Source::Carried));
    }

    #[test]
    fn never_gives_two_entries_one_time() {
        let line = "2026-02-20 22:31:07,000 INFO x";
        let times = times(&[line, line, "2026-02-20 22:31:06,000 INFO earlier"], NOW);
        assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
    }

    #[test]
    fn takes_the_clock_where_no_line_ever_told_the_time() {
        assert_eq!(times(&["a", "b"], NOW), [(NOW, Source::Clock), (NOW + 1, Source::Clock)]);
    }

    #[test]
    fn believes_again_what_it_believed_though_the_clock_was_set_back() {
        let (line, set_back) = (Some(NOW), Clock { now: 0, untimed: 0 });
        let mut chain = Chain::default();
        assert_eq!(chain.next(line, Clock { now: NOW, untimed: NOW }).1, Source::Believed);
        let mut resumed = Chain::default();
        resumed.knows(NOW);
        assert_eq!(resumed.next(line, set_back), (NOW, Source::Line));
    }

    #[test]
    fn starts_again_where_the_clock_was_far_ahead() {
        let ahead = NOW + 2 * BELIEVED_AHEAD;
        let mut chain = Chain { last: ahead, timed: true, clock: ahead, ..Chain::default() };
        assert!(!chain.restart(ahead - BELIEVED_AHEAD));
        assert!(chain.restart(NOW));
        let clock = Clock { now: NOW, untimed: NOW };
        // A line that tells no time comes right before those that do; equal lines from before are not met again.
        assert_eq!(chain.next(None, clock), (NOW - BELIEVED_AHEAD + 1, Source::Carried));
        assert_eq!(chain.next(Some(NOW - 1000), clock), (NOW - 999, Source::Line));
        assert_eq!(chain.next(Some(ahead), clock).1, Source::Disbelieved);
        assert!(!chain.restart(NOW));
    }

    #[test]
    fn forgets_a_clock_that_was_far_ahead_though_no_entry_was_dated_by_it() {
        let mut chain = Chain { last: NOW, timed: true, clock: NOW + 2 * BELIEVED_AHEAD, ..Chain::default() };
        assert!(chain.restart(NOW));
        assert_eq!((chain.last, chain.clock, chain.restarts), (NOW, NOW, 0));
    }

    #[test]
    fn gives_no_two_files_of_one_stream_the_same_time() {
        let clock = Clock { now: NOW, untimed: NOW };
        let mut seen = std::collections::BTreeSet::new();
        for slot in [0, 1, SLOTS - 1] {
            let mut chain = Chain { clock: NOW, slot: Some(slot), ..Chain::default() };
            let lines = [Some(NOW), Some(NOW), None, Some(NOW + 1), Some(NOW - 7)];
            let times: Vec<_> = lines.into_iter().map(|told| chain.next(told, clock).0).collect();
            assert!(times.is_sorted() && times.iter().all(|time| *time >= NOW), "{times:?}");
            assert!(times.into_iter().all(|time| seen.insert(time)), "slot {slot}: {seen:?}");
        }
    }

    #[test]
    fn does_not_believe_a_time_far_ahead_of_the_clock() {
        let times = times(&["2026-02-20 22:31:07,000 INFO x", "2999-01-01 00:00:00,000 INFO odd"], NOW);
        assert_eq!(times[1], (times[0].0 + 1, Source::Disbelieved));
    }
}
