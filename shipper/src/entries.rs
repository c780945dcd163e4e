//! The time of an entry.
//!
//! Loki collapses entries of one stream that share time and text. So a resend must have the times of the first push, and two
//! different entries must never share a time. The chain ensures both: the time of an entry is at least one nanosecond after the
//! entry before it, and the chain depends only on the bytes and the position record.

use serde::{Deserialize, Serialize};

use crate::formats::{self, CrashReport, Format, Reference};
use crate::texts::Text;

/// A timestamp further ahead of the wall clock than this is not accepted: one odd line must not push its stream into the future,
/// where Loki rejects the rest.
pub(crate) const ACCEPTED_AHEAD: i64 = 10 * 60 * 1_000_000_000;

/// The state on which the next entry depends, in addition to its bytes. Part of the position record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The time of the last entry, in nanoseconds since 1970 UTC.
    pub last: i64,
    /// Whether any line of the stream had a timestamp. If so, a line without one continues the line before it.
    pub timed: bool,
    /// The wall clock in the record on disk. Timestamps accepted against this clock stay accepted after a crash, even if the
    /// clock moves back.
    #[serde(default)]
    pub clock: i64,
    /// How often the chain restarted because the clock was wrong. Each restart shifts all later timestamps by a
    /// nanosecond, so that equal lines from before and after it do not share a time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u16,
    /// The file's slot in the stream that several files share. `None` if the file has its own stream. All times of the file have
    /// this remainder modulo the number of slots, so no two files of one stream share a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The format of the last line with a timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "formats::by_name")]
    pub format: Option<Format>,
    /// The crash report that the last entry left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<CrashReport>,
}

/// At most this many files share one stream.
pub(crate) const SLOTS: u16 = 4096;

/// The first time at or after `time` that belongs to `slot`.
fn in_slot(time: i64, slot: u16) -> i64 {
    let slots = i64::from(SLOTS);
    let wait = (i64::from(slot) - time.rem_euclid(slots)).rem_euclid(slots);
    time.saturating_add(wait)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a function of this kind")]
fn is_zero(restarts: &u16) -> bool {
    *restarts == 0
}

/// The wall clock, for entries that depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The current time, in nanoseconds since 1970 UTC.
    pub now: i64,
    /// The time of lines before the first timestamp of a file.
    pub untimed: i64,
}

/// Where the time of an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The timestamp of its line.
    Timestamp,
    /// The timestamp of its line, accepted only because of the current wall clock.
    Accepted,
    /// The entry before it.
    Carried,
    /// The wall clock. The caller must make sure that a resend sees the same clock.
    Clock,
    /// The entry before it, because the timestamp of its line is too far ahead of the wall clock.
    Implausible,
}

impl Basis {
    /// Whether the time may depend on the wall clock.
    pub fn depends_on_clock(self) -> bool {
        matches!(self, Self::Accepted | Self::Clock | Self::Implausible)
    }

    /// Whether the timestamp was not accepted.
    pub fn is_implausible(self) -> bool {
        self == Self::Implausible
    }
}

impl Chain {
    /// Notes that the record on disk will contain this clock before the next push.
    pub fn knows(&mut self, clock: i64) {
        self.clock = self.clock.max(clock);
    }

    /// Restarts the chain if the last time, or the clock of the record, is so far ahead of the clock `now` that the clock must
    /// have been wrong: otherwise Loki would reject later entries as too new. Returns whether it restarted. The caller must save
    /// that before the next push.
    pub fn restart(&mut self, now: i64) -> bool {
        let latest = now.saturating_add(ACCEPTED_AHEAD);
        if self.last <= latest && self.clock <= latest {
            return false;
        }
        self.clock = now;
        if self.last > latest {
            // Recent lines keep their own timestamps.
            self.last = now.saturating_sub(ACCEPTED_AHEAD);
            self.restarts = self.restarts.wrapping_add(1) % 1000;
        }
        true
    }

    /// The reference for a timestamp without a year: the entry before it, or else the current time.
    pub fn reference(&self, clock: Clock) -> Reference {
        if self.timed {
            Reference::Near(self.last)
        } else {
            Reference::Before(clock.now.saturating_add(ACCEPTED_AHEAD))
        }
    }

    /// The time of the next entry, whose line has `timestamp`, in nanoseconds since 1970 UTC.
    pub fn next(&mut self, timestamp: Option<i64>, clock: Clock) -> (i64, Basis) {
        let after = self.last.saturating_add(1);
        let (time, basis) = match timestamp {
            Some(time) if time <= self.clock.max(clock.now).saturating_add(ACCEPTED_AHEAD) => {
                self.timed = true;
                let time = time.saturating_add(i64::from(self.restarts));
                let known = time <= self.clock.saturating_add(ACCEPTED_AHEAD);
                (time.max(after), if known { Basis::Timestamp } else { Basis::Accepted })
            }
            Some(_) if self.timed => (after, Basis::Implausible),
            None if self.timed => (after, Basis::Carried),
            Some(_) | None => (clock.untimed.max(after), Basis::Clock),
        };
        let time = self.slot.map_or(time, |slot| in_slot(time, slot));
        self.last = time;
        (time, basis)
    }

    /// Remembers the format and the open crash report of this entry's text, on which the next text depends.
    pub(crate) fn took(&mut self, text: &Text<'_>) {
        self.format = text.timestamp.map(|timestamp| timestamp.format).or(self.format);
        self.report = text.report;
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::formats::TimeReader;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn times(lines: &[&str], now: i64) -> Vec<(i64, Basis)> {
        let clock = Clock { now, untimed: now };
        let (mut chain, mut reader) = (Chain { clock: now, ..Chain::default() }, TimeReader::new(TimeZone::UTC));
        let mut next = |line: &&str| {
            let timestamp = reader.read(line.as_bytes());
            let timestamp = timestamp.and_then(|timestamp| reader.resolve(timestamp, chain.reference(clock)));
            chain.next(timestamp, clock)
        };
        lines.iter().map(&mut next).collect()
    }

    #[test]
    fn carries_the_time_on_to_lines_without_a_timestamp() {
        let times = times(&["2026-02-20 22:31:07,000 ERROR x", "Traceback", "  File"], NOW);
        assert_eq!(times[1], (times[0].0 + 1, Basis::Carried));
        assert_eq!(times[2], (times[0].0 + 2, Basis::Carried));
    }

    #[test]
    fn never_gives_two_entries_one_time() {
        let line = "2026-02-20 22:31:07,000 INFO x";
        let times = times(&[line, line, "2026-02-20 22:31:06,000 INFO earlier"], NOW);
        assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0), "{times:?}");
    }

    #[test]
    fn takes_the_clock_if_no_line_has_a_timestamp() {
        assert_eq!(times(&["a", "b"], NOW), [(NOW, Basis::Clock), (NOW + 1, Basis::Clock)]);
    }

    #[test]
    fn still_accepts_a_timestamp_after_the_clock_was_set_back() {
        let (line, set_back) = (Some(NOW), Clock { now: 0, untimed: 0 });
        let mut chain = Chain::default();
        assert_eq!(chain.next(line, Clock { now: NOW, untimed: NOW }).1, Basis::Accepted);
        let mut resumed = Chain::default();
        resumed.knows(NOW);
        assert_eq!(resumed.next(line, set_back), (NOW, Basis::Timestamp));
    }

    #[test]
    fn is_in_the_position_record_with_the_format_and_the_open_crash_report() {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let format = reader.read(b"612:M 20 Feb 2026 22:30:41.120 * Ready").map(|timestamp| timestamp.format);
        let chain = Chain { format, report: Some(CrashReport::default()), ..Chain::default() };
        let json = serde_json::to_string(&chain).unwrap();
        assert!(json.contains(r#""format":"redis","report":{}"#), "{json}");
        assert_eq!(serde_json::from_str::<Chain>(&json).unwrap(), chain);
        // A record of another version may lack the format, or name an unknown one.
        let other = json.replace("redis", "unheard of");
        assert_eq!(serde_json::from_str::<Chain>(&other).unwrap(), Chain { format: None, ..chain });
        assert_eq!(serde_json::from_str::<Chain>(r#"{"last":0,"timed":false}"#).unwrap(), Chain::default());
    }

    #[test]
    fn gives_a_timestamp_without_a_year_the_year_of_the_entry_before_it() {
        // 2027-01-15 08:00 UTC.
        let lines = ["Dec 31 23:59:59 a", "Jan  1 00:00:01 b", "Feb  3 00:00:00 not yet"];
        let times = times(&lines, NOW);
        assert_eq!(times[0], (1_798_761_599_000_000_000, Basis::Timestamp));
        assert_eq!(times[1].0 - times[0].0, 2_000_000_000);
        assert_eq!(times[2].1, Basis::Implausible);
    }

    #[test]
    fn restarts_if_the_clock_was_far_ahead() {
        let ahead = NOW + 2 * ACCEPTED_AHEAD;
        let mut chain = Chain { last: ahead, timed: true, clock: ahead, ..Chain::default() };
        assert!(!chain.restart(ahead - ACCEPTED_AHEAD));
        assert!(chain.restart(NOW));
        let clock = Clock { now: NOW, untimed: NOW };
        // A line without a timestamp sorts before recent timestamps. Equal lines before and after the restart differ in time.
        assert_eq!(chain.next(None, clock), (NOW - ACCEPTED_AHEAD + 1, Basis::Carried));
        assert_eq!(chain.next(Some(NOW - 1000), clock), (NOW - 999, Basis::Timestamp));
        assert_eq!(chain.next(Some(ahead), clock).1, Basis::Implausible);
        assert!(!chain.restart(NOW));
    }

    #[test]
    fn forgets_a_clock_that_was_far_ahead_even_if_no_entry_has_its_time() {
        let mut chain = Chain { last: NOW, timed: true, clock: NOW + 2 * ACCEPTED_AHEAD, ..Chain::default() };
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
            let times: Vec<_> = lines.into_iter().map(|timestamp| chain.next(timestamp, clock).0).collect();
            assert!(times.is_sorted() && times.iter().all(|time| *time >= NOW), "{times:?}");
            assert!(times.into_iter().all(|time| seen.insert(time)), "slot {slot}: {seen:?}");
        }
    }

    #[test]
    fn does_not_accept_a_timestamp_far_ahead_of_the_clock() {
        let times = times(&["2026-02-20 22:31:07,000 INFO x", "2999-01-01 00:00:00,000 INFO odd"], NOW);
        assert_eq!(times[1], (times[0].0 + 1, Basis::Implausible));
    }
}
