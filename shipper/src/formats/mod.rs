//! Where the time stands in a line: one table row a format.
//!
//! A line that fits no row carries no time of its own; `entries` says what becomes of it.

pub mod level;
mod parse;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How one family of programs writes the time at the start of a line.
#[derive(Debug)]
struct Format {
    /// As the documentation calls it.
    #[expect(dead_code, reason = "the table's first column, for readers")]
    name: &'static str,
    /// Finds the date and time, to the second, and the nanoseconds after it.
    time: fn(&[u8]) -> Option<Stamp>,
}

/// The table. The first row that fits wins, so the strict ones stand first.
static FORMATS: &[Format] = &[
    // 3) 2026-02-20 22:31:07.002 [1623] INF dmc.app (App@dmcproxy.cpp:959) - ...; the running number is optional
    Format { name: "dmc", time: parse::dmc },
    // 2026-02-20 22:32:39,415 INFO cnm_http: ...; supervisord and the event log write theirs alike
    Format { name: "python", time: parse::python },
];

/// A time as written: 19 bytes of `YYYY-MM-DD HH:MM:SS`, and the fraction of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    second: [u8; 19],
    nanos: u32,
}

/// Reads times, remembering the second it read last: neighbours mostly share it.
#[derive(Clone, Debug)]
pub struct TimeReader {
    zone: TimeZone,
    second: [u8; 19],
    seconds: i64,
}

impl TimeReader {
    /// A reader of local times in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, second: [0; 19], seconds: 0 }
    }

    /// The time that `line` starts with, in nanoseconds since 1970 UTC.
    pub fn read(&mut self, line: &[u8]) -> Option<i64> {
        let stamp = FORMATS.iter().find_map(|format| (format.time)(line))?;
        if stamp.second != self.second {
            self.seconds = self.to_seconds(&stamp.second)?;
            self.second = stamp.second;
        }
        Some(self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(stamp.nanos)))
    }

    fn to_seconds(&self, second: &[u8; 19]) -> Option<i64> {
        let [year, month, day, hour, minute, second] = parse::fields(second)?;
        let year = i16::try_from(year).ok()?;
        let field = |value: u16| i8::try_from(value).ok();
        let time =
            DateTime::new(year, field(month)?, field(day)?, field(hour)?, field(minute)?, field(second)?, 0).ok()?;
        Some(self.zone.to_ambiguous_timestamp(time).compatible().ok()?.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(line: &str) -> Option<String> {
        let nanos = TimeReader::new(TimeZone::UTC).read(line.as_bytes())?;
        Some(jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string())
    }

    #[test]
    fn reads_dmcproxy_with_and_without_its_running_number() {
        for line in ["3) 2026-02-20 22:31:07.002 [1623] INF dmc.app", "2026-02-20 22:31:07.002 [1623] INF dmc.app"] {
            assert_eq!(utc(line).as_deref(), Some("2026-02-20T22:31:07.002Z"), "{line}");
        }
    }

    #[test]
    fn reads_python_with_and_without_milliseconds() {
        assert_eq!(utc("2026-02-20 22:32:39,415 INFO cnm_http: POST").as_deref(), Some("2026-02-20T22:32:39.415Z"));
        assert_eq!(utc("2026-02-20 22:31:15 INFO EventLog: {}").as_deref(), Some("2026-02-20T22:31:15Z"));
    }

    #[test]
    fn refuses_what_only_looks_like_a_time() {
        for line in [
            "",
            "Traceback (most recent call last):",
            "2026-13-20 22:31:07,000 INFO",
            "2026-02-30 22:31:07,000 INFO",
            "2026-02-20 22:31:0",
            "2026-02-20 22:31:07,4x5 INFO",
            "1) ",
            "2026-02-20T22:31:07,000 INFO",
        ] {
            assert_eq!(utc(line), None, "{line}");
        }
    }

    #[test]
    fn reads_local_time_in_the_zone_it_was_given() {
        let zone = TimeZone::fixed(jiff::tz::offset(-3));
        let mut reader = TimeReader::new(zone);
        let local = reader.read(b"2026-02-20 22:31:07,000 INFO").unwrap();
        let mut utc = TimeReader::new(TimeZone::UTC);
        assert_eq!(local - utc.read(b"2026-02-20 22:31:07,000 INFO").unwrap(), 3 * 3_600_000_000_000);
    }

    #[test]
    fn does_not_take_a_new_second_for_the_remembered_one() {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let first = reader.read(b"2026-02-20 22:31:07,500 INFO").unwrap();
        let second = reader.read(b"2026-02-20 22:31:08,000 INFO").unwrap();
        assert_eq!(second - first, 500_000_000);
    }
}
