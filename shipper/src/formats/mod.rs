//! Where the time stands in a line: one table row a format.
//!
//! A line that fits no row carries no time of its own; `entries` says what becomes of it. A row looks at the beginning
//! of a line only, and what it says of a beginning it says of every line that begins like that.

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
    /// Finds the time.
    time: fn(&[u8]) -> Option<Stamp>,
}

/// The table. The first row that fits wins, so the strict ones stand first.
static FORMATS: &[Format] = &[
    // 3) 2026-02-20 22:31:07.002 [1623] INF dmc.app (App@dmcproxy.cpp:959) - ...; the running number is optional
    Format { name: "dmc", time: parse::dmc },
    // 2026-02-20 22:32:39,415 INFO cnm_http: ...; supervisord, the event log and the syncer write theirs alike
    Format { name: "python", time: parse::python },
    // 612:M 20 Feb 2026 22:30:41.120 * Ready to accept connections unix
    Format { name: "redis", time: parse::redis },
    // 3725842:signal-handler (1771627477) Received SIGTERM scheduling shutdown...
    Format { name: "redis signal handler", time: parse::redis_signal_handler },
    // [2026-02-20T22:32:39.415Z] "POST /v1/bdbs HTTP/1.1" 200 ...
    Format { name: "envoy access log", time: parse::envoy_access },
    // [2026-02-20 22:30:49.118][1544][info][main] ...
    Format { name: "envoy", time: parse::envoy },
    // ts=2026-02-20T22:30:50.412Z caller=main.go:297 ...; also time="..."
    Format { name: "logfmt", time: parse::logfmt },
    // 2026/02/20 22:31:02.118 INFO sentinel_service ...
    Format { name: "golog", time: parse::golog },
    // 2026-02-20T22:31:03.500512Z  INFO heartbeatd::gossip: ...
    Format { name: "rfc3339", time: parse::rfc3339_first },
];

/// A time as a line tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    at: At,
    nanos: u32,
}

/// A time to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// On the clock of the container: `YYYY-MM-DD?HH:MM:SS`, the separators whatever they are.
    Local([u8; 19]),
    /// The same digits, so many seconds east of UTC.
    Offset([u8; 19], i32),
    /// Seconds since 1970 UTC.
    Epoch(i64),
}

/// Reads times, remembering the second it read last: neighbours mostly share it.
#[derive(Clone, Debug)]
pub struct TimeReader {
    zone: TimeZone,
    last: Option<(At, i64)>,
}

impl TimeReader {
    /// A reader of local times in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, last: None }
    }

    /// The time that `line` starts with, in nanoseconds since 1970 UTC.
    pub fn read(&mut self, line: &[u8]) -> Option<i64> {
        let stamp = FORMATS.iter().find_map(|format| (format.time)(line))?;
        let seconds = match self.last {
            Some((at, seconds)) if at == stamp.at => seconds,
            _ => {
                let seconds = self.seconds(stamp.at)?;
                self.last = Some((stamp.at, seconds));
                seconds
            }
        };
        Some(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(stamp.nanos)))
    }

    fn seconds(&self, at: At) -> Option<i64> {
        match at {
            At::Epoch(seconds) => Some(seconds),
            At::Local(digits) => Some(self.zone.to_ambiguous_timestamp(civil(&digits)?).compatible().ok()?.as_second()),
            At::Offset(digits, east) => {
                Some(TimeZone::UTC.to_timestamp(civil(&digits)?).ok()?.as_second() - i64::from(east))
            }
        }
    }
}

fn civil(digits: &[u8; 19]) -> Option<DateTime> {
    let [year, month, day, hour, minute, second] = parse::fields(digits)?;
    let field = |value: u16| i8::try_from(value).ok();
    DateTime::new(
        i16::try_from(year).ok()?,
        field(month)?,
        field(day)?,
        field(hour)?,
        field(minute)?,
        field(second)?,
        0,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(line: &str) -> Option<String> {
        let nanos = TimeReader::new(TimeZone::UTC).read(line.as_bytes())?;
        Some(jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string())
    }

    /// A line of every row, and when it was.
    const LINES: &[(&str, &str)] = &[
        ("3) 2026-02-20 22:31:07.002 [1623] INF dmc.app", "2026-02-20T22:31:07.002Z"),
        ("2026-02-20 22:31:07.002 [1623] INF dmc.app", "2026-02-20T22:31:07.002Z"),
        ("2026-02-20 22:32:39,415 INFO cnm_http: POST", "2026-02-20T22:32:39.415Z"),
        ("2026-02-20 22:31:15 INFO EventLog: {}", "2026-02-20T22:31:15Z"),
        ("2026-02-20 22:40:05 - INFO - connected", "2026-02-20T22:40:05Z"),
        ("612:M 20 Feb 2026 22:30:41.120 * Ready", "2026-02-20T22:30:41.12Z"),
        ("3725842:signal-handler (1771627477) Received SIGTERM", "2026-02-20T22:44:37Z"),
        ("[2026-02-20T22:32:39.415Z] \"POST /v1/bdbs HTTP/1.1\" 200", "2026-02-20T22:32:39.415Z"),
        ("[2026-02-20 22:30:49.118][1544][info][main] x", "2026-02-20T22:30:49.118Z"),
        ("ts=2026-02-20T22:30:50.412Z caller=main.go:297", "2026-02-20T22:30:50.412Z"),
        ("time=\"2026-02-20T22:30:50Z\" level=info", "2026-02-20T22:30:50Z"),
        ("time=2026-02-20T23:30:50+01:00 level=info", "2026-02-20T22:30:50Z"),
        ("2026/02/20 22:31:02.118 INFO sentinel_service", "2026-02-20T22:31:02.118Z"),
        ("2026/02/20 22:31:02 listening", "2026-02-20T22:31:02Z"),
        ("2026-02-20T22:31:03.500512Z  INFO heartbeatd", "2026-02-20T22:31:03.500512Z"),
    ];

    #[test]
    fn reads_every_format_of_the_table() {
        for (line, expected) in LINES {
            assert_eq!(utc(line).as_deref(), Some(*expected), "{line}");
        }
    }

    #[test]
    fn says_of_a_beginning_what_it_says_of_the_whole_line_or_nothing() {
        for (line, expected) in LINES {
            for beginning in (0..line.len()).filter_map(|end| line.get(..end)) {
                let said = utc(beginning);
                assert!(said.is_none() || said.as_deref() == Some(*expected), "{beginning}: {said:?}");
            }
        }
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
            "612:M 20 Fab 2026 22:30:41.120 * Ready",
            "612:Q 20 Feb 2026 22:30:41.120 * Ready",
            "612:signal-handler (99999999999999999999) x",
            "[2026-02-20 22:30:49.118] x",
            "ts=yesterday level=info",
            "2026-02-20T22:31:03.500512+99:00 x",
        ] {
            assert_eq!(utc(line), None, "{line}");
        }
    }

    #[test]
    fn reads_local_time_in_the_zone_it_was_given_and_other_times_as_they_say() {
        let mut local = TimeReader::new(TimeZone::fixed(jiff::tz::offset(-3)));
        let mut utc = TimeReader::new(TimeZone::UTC);
        let mut apart = |line: &[u8]| local.read(line).unwrap() - utc.read(line).unwrap();
        assert_eq!(apart(b"2026-02-20 22:31:07,000 INFO"), 3 * 3_600_000_000_000);
        assert_eq!(apart(b"612:M 20 Feb 2026 22:30:41.120 * Ready"), 3 * 3_600_000_000_000);
        assert_eq!(apart(b"[2026-02-20T22:32:39.415Z] \"GET"), 0);
        assert_eq!(apart(b"612:signal-handler (1771627477) x"), 0);
    }

    #[test]
    fn does_not_take_a_new_second_for_the_remembered_one() {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let first = reader.read(b"2026-02-20 22:31:07,500 INFO").unwrap();
        let second = reader.read(b"2026-02-20 22:31:08,000 INFO").unwrap();
        assert_eq!(second - first, 500_000_000);
    }
}
