//! Reads the timestamps of lines, and finds the year of timestamps without one.

use jiff::civil;
use jiff::tz::TimeZone;

use super::ansi::{self, ESCAPE};
use super::stamp::{At, DateTime, Stamp};
use super::table::Format;

/// The time at which a line was written, as the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    time: Time,
    /// The format of the line.
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// In nanoseconds since 1970 UTC.
    Exact(i64),
    /// A time of some year.
    Yearless(civil::DateTime),
}

impl Timestamp {
    /// The timestamp of a line in the first format.
    #[cfg(test)]
    pub(crate) fn exact(nanos: i64) -> Self {
        Self { time: Time::Exact(nanos), format: Format::all().next().unwrap() }
    }

    /// The same in a format whose lines start no entry in files of other formats.
    #[cfg(test)]
    pub(crate) fn indistinct(nanos: i64) -> Self {
        Self { format: Format::all().find(|format| !format.is_distinct()).unwrap(), ..Self::exact(nanos) }
    }

    /// Whether the line lacks the year.
    pub fn is_yearless(self) -> bool {
        matches!(self.time, Time::Yearless(_))
    }
}

/// Decides the year of a timestamp without one. Both are in nanoseconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub enum Reference {
    /// The year that brings the timestamp closest to this time.
    Near(i64),
    /// The last year that brings the timestamp before this time.
    Before(i64),
}

/// Only this much of a line with escape sequences is searched for a timestamp.
const STRIPPED: usize = 256;
const NANOS: i64 = 1_000_000_000;
/// The average length of a year, in seconds.
const YEAR: i64 = 31_556_952;

/// Reads timestamps. Remembers the last format and second, because neighboring lines mostly share them.
#[derive(Clone, Debug)]
pub struct TimeReader {
    zone: TimeZone,
    format: Option<Format>,
    last: Option<(At, i64)>,
}

impl TimeReader {
    /// A reader of local times in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, format: None, last: None }
    }

    /// The timestamp at the beginning of `line`.
    pub fn read(&mut self, line: &[u8]) -> Option<Timestamp> {
        if line.first() == Some(&ESCAPE) {
            return self.read_plain(ansi::strip_into(line, &mut [0; STRIPPED]));
        }
        self.read_plain(line)
    }

    fn read_plain(&mut self, line: &[u8]) -> Option<Timestamp> {
        let stamp = |format: Format| Some((format, format.stamp(line)?));
        let (format, Stamp { at, nanos }) = self.format.and_then(stamp).or_else(|| Format::all().find_map(stamp))?;
        let time = match at {
            At::Yearless(date_time) => Time::Yearless(civil(date_time, nanos)?),
            _ => Time::Exact(in_nanos(self.seconds(at)?, nanos)),
        };
        self.format = Some(format);
        Some(Timestamp { time, format })
    }

    /// The time of `timestamp` in nanoseconds since 1970 UTC.
    pub fn resolve(&mut self, timestamp: Timestamp, reference: Reference) -> Option<i64> {
        match timestamp.time {
            Time::Exact(nanos) => Some(nanos),
            Time::Yearless(time) => self.in_a_year(time, reference),
        }
    }

    fn in_a_year(&self, yearless: civil::DateTime, reference: Reference) -> Option<i64> {
        let (Reference::Near(reference_time) | Reference::Before(reference_time)) = reference;
        let year = 1970 + reference_time.div_euclid(YEAR * NANOS);
        // A leap day is up to eight years away. The nearest years come first.
        let years = (0..=8).flat_map(|distance| [year - distance, year + distance]);
        let mut times = years.filter_map(|year| {
            let time = yearless.with().year(i16::try_from(year).ok()?).build().ok()?;
            i64::try_from(self.zone.to_ambiguous_timestamp(time).compatible().ok()?.as_nanosecond()).ok()
        });
        match reference {
            Reference::Before(latest) => times.filter(|time| *time <= latest).max(),
            Reference::Near(near) => {
                let distance = |time: &i64| time.abs_diff(near);
                let half_a_year = (YEAR * NANOS / 2).unsigned_abs();
                let first = times.next()?;
                if distance(&first) < half_a_year - 2 * DAY {
                    Some(first)
                } else {
                    times.chain([first]).min_by_key(distance)
                }
            }
        }
    }

    /// Seconds since 1970 UTC.
    fn seconds(&mut self, at: At) -> Option<i64> {
        if let Some((last, seconds)) = self.last
            && last == at
        {
            return Some(seconds);
        }
        let seconds = match at {
            At::Epoch(seconds) => return Some(seconds),
            At::Local(local) | At::Yearless(local) => {
                self.zone.to_ambiguous_timestamp(civil(local, 0)?).compatible().ok()?.as_second()
            }
            At::Offset(local, east) => TimeZone::UTC.to_timestamp(civil(local, 0)?).ok()?.as_second() - i64::from(east),
        };
        self.last = Some((at, seconds));
        Some(seconds)
    }
}

const DAY: u64 = 86_400 * NANOS.unsigned_abs();

fn in_nanos(seconds: i64, nanos: u32) -> i64 {
    seconds.saturating_mul(NANOS).saturating_add(i64::from(nanos))
}

/// `None` if there is no such day or time.
fn civil(date_time: DateTime, nanos: u32) -> Option<civil::DateTime> {
    let [year, month, day, hour, minute, second] = date_time.fields();
    let field = |value: u16| i8::try_from(value).ok();
    civil::DateTime::new(
        i16::try_from(year).ok()?,
        field(month)?,
        field(day)?,
        field(hour)?,
        field(minute)?,
        field(second)?,
        i32::try_from(nanos).ok()?,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format and the time of a line.
    fn read(line: &str) -> Option<(&'static str, String)> {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let timestamp = reader.read(line.as_bytes())?;
        let nanos = reader.resolve(timestamp, Reference::Before(1_800_000_000 * NANOS))?;
        Some((timestamp.format.name(), jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string()))
    }

    /// Lines of every row, and their times.
    const LINES: &[(&str, &str, &str)] = &[
        ("dmc", "3) 2026-02-20 22:31:07.002 [1623] INF dmc.app", "2026-02-20T22:31:07.002Z"),
        ("dmc", "2026-02-20 22:31:07.002 [1623] INF dmc.app", "2026-02-20T22:31:07.002Z"),
        ("dmc", "4) 2026-02-20 22:31:07.002 INF dmc.app", "2026-02-20T22:31:07.002Z"),
        ("python", "2026-02-20 22:32:39,415 INFO cnm_http: POST", "2026-02-20T22:32:39.415Z"),
        ("python", "2026-02-20 22:31:15 INFO EventLog: {}", "2026-02-20T22:31:15Z"),
        ("python", "2026-02-20 22:40:05 - INFO - connected", "2026-02-20T22:40:05Z"),
        ("python", "2026-02-20 22:40:05.123 | INFO     | a:b:1 - connected", "2026-02-20T22:40:05.123Z"),
        ("python", "2026-02-20T22:40:05.5 INFO connected", "2026-02-20T22:40:05.5Z"),
        ("redis", "612:M 20 Feb 2026 22:30:41.120 * Ready", "2026-02-20T22:30:41.12Z"),
        ("redis-signal", "3725842:signal-handler (1771627477) Received SIGTERM", "2026-02-20T22:44:37Z"),
        ("envoy-access", "[2026-02-20T22:32:39.415Z] \"POST /v1/bdbs HTTP/1.1\" 200", "2026-02-20T22:32:39.415Z"),
        ("envoy", "[2026-02-20 22:30:49.118][1544][info][main] x", "2026-02-20T22:30:49.118Z"),
        ("logfmt", "ts=2026-02-20T22:30:50.412Z caller=main.go:297", "2026-02-20T22:30:50.412Z"),
        ("logfmt", "time=\"2026-02-20T22:30:50Z\" level=info", "2026-02-20T22:30:50Z"),
        ("logfmt", "time=2026-02-20T23:30:50+01:00 level=info", "2026-02-20T22:30:50Z"),
        ("logfmt", "level=info msg=\"a b\" ts=1771626650.412 x=y", "2026-02-20T22:30:50.412Z"),
        ("go", "2026/02/20 22:31:02.118 INFO sentinel_service", "2026-02-20T22:31:02.118Z"),
        ("go", "2026/02/20 22:31:02 listening", "2026-02-20T22:31:02Z"),
        ("glog", "I0220 22:31:02.118123    1544 main.go:12] x", "2026-02-20T22:31:02.118123Z"),
        ("rfc3339", "2026-02-20T22:31:03.500512Z  INFO heartbeatd", "2026-02-20T22:31:03.500512Z"),
        ("rfc3339", "2026-02-20T22:31:03.500-0100\tinfo\tx", "2026-02-20T23:31:03.5Z"),
        ("rfc3339", "2026-02-20 22:31:03+00:00 x", "2026-02-20T22:31:03Z"),
        ("rfc3339", "\u{1b}[2m2026-02-20T22:31:03Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m x", "2026-02-20T22:31:03Z"),
        ("syslog", "Feb 20 22:31:04 UDP server bound", "2026-02-20T22:31:04Z"),
        ("syslog", "Feb  3 22:31:04 UDP server bound", "2026-02-03T22:31:04Z"),
        ("syslog", "Feb 29 22:31:04 a leap day", "2024-02-29T22:31:04Z"),
        ("json", "{\"level\":\"info\",\"ts\":1771626650.412,\"msg\":\"x\"}", "2026-02-20T22:30:50.412Z"),
        ("json", "{\"a\":{\"ts\":1},\"time\":1771626650412,\"msg\":\"x\"}", "2026-02-20T22:30:50.412Z"),
        ("json", "{\"msg\": \"x\", \"@timestamp\": \"2026-02-20T22:30:50Z\"}", "2026-02-20T22:30:50Z"),
        ("json", "{\"asctime\": \"2026-02-20 22:32:39,415\", \"msg\": \"x\"}", "2026-02-20T22:32:39.415Z"),
        ("epoch", "1771626650.412345 x", "2026-02-20T22:30:50.412345Z"),
        ("epoch", "1771626650 x", "2026-02-20T22:30:50Z"),
        ("csv", "1771626650,node:1,0.25", "2026-02-20T22:30:50Z"),
        ("csv", "1771626650412,1", "2026-02-20T22:30:50.412Z"),
        ("csv", "\"2026-02-20T22:30:50Z\",1", "2026-02-20T22:30:50Z"),
        ("csv", "2026-02-20 22:30:50.5,17,x", "2026-02-20T22:30:50.5Z"),
    ];

    #[test]
    fn reads_every_format_of_the_table() {
        for (name, line, expected) in LINES {
            assert_eq!(read(line), Some((*name, (*expected).to_owned())), "{line}");
        }
        for format in Format::all() {
            assert!(LINES.iter().any(|(name, ..)| *name == format.name()), "no line of {}", format.name());
        }
    }

    #[test]
    fn reads_from_a_beginning_what_it_reads_from_the_whole_line_or_nothing() {
        for (_, line, _) in LINES {
            let whole = read(line);
            for beginning in (0..line.len()).filter_map(|end| line.get(..end)) {
                let part = read(beginning);
                assert!(part.is_none() || part == whole, "{beginning}: {part:?}");
            }
        }
    }

    /// The names of the rows that match.
    fn rows(line: &[u8]) -> Vec<&'static str> {
        Format::all().filter(|format| format.stamp(line).is_some()).map(Format::name).collect()
    }

    proptest::proptest! {
        /// So the order of the rows does not matter.
        #[test]
        fn one_row_fits_a_line_at_most(
            parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 1..8),
            cut in 0..80_usize,
        ) {
            let line = parts.concat();
            let (whole, part) = (rows(line.as_bytes()), rows(&line.as_bytes()[..cut.min(line.len())]));
            proptest::prop_assert!(whole.len() <= 1, "{}: {:?}", line, whole);
            proptest::prop_assert!(part.is_empty() || part == whole, "{}: {:?}, {:?}", line, part, whole);
        }

        #[test]
        fn takes_any_bytes(line in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            TimeReader::new(TimeZone::UTC).read(&line);
        }
    }

    /// Parts of lines.
    const PARTS: [&str; 36] = [
        "2026-02-20",
        "2026/02/20",
        " ",
        "T",
        "22:31:07",
        ",415",
        ".415",
        "Z",
        "+01:00",
        "-0100",
        " [",
        "[",
        "]",
        "1771626650",
        ".5",
        "1771626650412",
        ",",
        "7) ",
        "7:M ",
        "20 Feb 2026 ",
        "7:signal-handler (",
        ") ",
        "Feb 20 ",
        "I0220 ",
        "ts=",
        "time=\"",
        "\"",
        "level=info ",
        "{\"ts\":",
        "{\"time\":\"",
        ",\"a\":1}",
        "\t",
        "x",
        "} ",
        "INFO",
        "\u{1b}[2m",
    ];

    #[test]
    fn refuses_what_only_looks_like_a_timestamp() {
        for line in [
            "",
            "Traceback (most recent call last):",
            "2026-13-20 22:31:07,000 INFO",
            "2026-02-30 22:31:07,000 INFO",
            "2026-02-20 22:31:0",
            "2026-02-20 22:31:07,415",
            "2026-02-20 22:31:07.4x5 INFO",
            "1) ",
            "612:M 20 Fab 2026 22:30:41.120 * Ready",
            "612:Q 20 Feb 2026 22:30:41.120 * Ready",
            "612:signal-handler (99999999999999999999) x",
            "[2026-02-20 22:30:49.118] x",
            "ts=yesterday level=info",
            "ts=17 level=info",
            "2026-02-20T22:31:03.500512+99:00 x",
            "Feb 30 22:31:04 x",
            "X0220 22:31:02.118123 x",
            "4102444801 x",
            "177162665 x",
            "17716266501 x",
            "{\"time\": \"22:31\", \"msg\": \"x\"}",
            "{\"args\": {\"time\": 1771626650}}",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    /// The time of a line with a year.
    fn nanos_of(reader: &mut TimeReader, line: &[u8]) -> i64 {
        let timestamp = reader.read(line).unwrap();
        reader.resolve(timestamp, Reference::Near(0)).unwrap()
    }

    #[test]
    fn gives_a_timestamp_without_a_year_the_nearest_year_or_the_last() {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let second = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second();
        let new_year = second("2027-01-01T00:00:30Z") * NANOS;
        for (line, near, before) in [
            ("Dec 31 23:59:59 x", "2026-12-31T23:59:59Z", "2026-12-31T23:59:59Z"),
            ("Jan  1 00:01:00 x", "2027-01-01T00:01:00Z", "2026-01-01T00:01:00Z"),
            ("Feb 29 00:00:00 x", "2028-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ] {
            let timestamp = reader.read(line.as_bytes()).unwrap();
            assert!(timestamp.is_yearless());
            for (reference, expected) in [(Reference::Near(new_year), near), (Reference::Before(new_year), before)] {
                assert_eq!(reader.resolve(timestamp, reference), Some(second(expected) * NANOS), "{line}");
            }
        }
    }

    #[test]
    fn reads_local_time_in_the_zone_it_was_given_and_other_times_as_they_say() {
        let mut local = TimeReader::new(TimeZone::fixed(jiff::tz::offset(-3)));
        let mut utc = TimeReader::new(TimeZone::UTC);
        let mut apart = |line: &[u8]| nanos_of(&mut local, line) - nanos_of(&mut utc, line);
        assert_eq!(apart(b"2026-02-20 22:31:07,000 INFO"), 3 * 3_600_000_000_000);
        assert_eq!(apart(b"612:M 20 Feb 2026 22:30:41.120 * Ready"), 3 * 3_600_000_000_000);
        assert_eq!(apart(b"[2026-02-20T22:32:39.415Z] \"GET"), 0);
        assert_eq!(apart(b"612:signal-handler (1771627477) x"), 0);
    }

    #[test]
    fn does_not_take_a_new_second_for_the_remembered_one() {
        let mut reader = TimeReader::new(TimeZone::UTC);
        let first = nanos_of(&mut reader, b"2026-02-20 22:31:07,500 INFO");
        let second = nanos_of(&mut reader, b"2026-02-20 22:31:08,000 INFO");
        assert_eq!(second - first, 500_000_000);
    }
}
