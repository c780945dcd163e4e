//! Redis's crash report: many lines, some with timestamps, are one entry.
//!
//! The report starts with a banner and ends with another banner. If the process was killed first, the report ends before the
//! first line of another process or program.

use serde::{Deserialize, Serialize};

use super::parse;
use super::reader::Timestamp;

const START: &[u8] = b"=== REDIS BUG REPORT START";
const END: &[u8] = b"=== REDIS BUG REPORT END";

/// An open report. Part of the position record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashReport {
    /// The process that crashed, once a line names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<i64>,
}

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It starts a report.
    Start,
    /// It is part of the report before it.
    Inside,
    /// It is not part of a report.
    Outside,
}

/// Where `line` belongs if `report` is open before it, and which report is open after it.
///
/// For a partial line it returns the place of the whole line, or `Inside` while that is unknown.
pub(crate) fn place(
    report: Option<CrashReport>,
    line: &[u8],
    timestamp: Option<Timestamp>,
) -> (Place, Option<CrashReport>) {
    if line.starts_with(START) {
        return (Place::Start, Some(CrashReport::default()));
    }
    let Some(open) = report else { return (Place::Outside, None) };
    if line.starts_with(END) {
        return (Place::Inside, None);
    }
    if timestamp.is_none_or(|timestamp| !timestamp.format.is_distinct()) {
        return (Place::Inside, report);
    }
    match (parse::redis_process(line), open.process) {
        (Some(process), None) => (Place::Inside, Some(CrashReport { process: Some(process) })),
        (Some(process), Some(crashed)) if process == crashed => (Place::Inside, report),
        _ => (Place::Outside, None),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::Place::{Inside, Outside, Start};
    use super::*;
    use crate::formats::TimeReader;

    /// The place of each line.
    fn places(lines: &[&str]) -> Vec<Place> {
        let (mut times, mut report) = (TimeReader::new(TimeZone::UTC), None);
        let mut next = |line: &&str| {
            let (place, after) = place(report, line.as_bytes(), times.read(line.as_bytes()));
            report = after;
            place
        };
        lines.iter().map(&mut next).collect()
    }

    const BANNER: &str = "=== REDIS BUG REPORT START: Cut & paste starting from here ===";

    #[test]
    fn holds_the_lines_from_banner_to_banner() {
        let lines = [
            "838:M 27 Nov 2026 04:13:40.994 * Ready to accept connections",
            BANNER,
            "838:M 27 Nov 2026 04:13:42.022 # Redis 7.0.15 crashed by signal: 11, si_code: 2",
            "------ STACK TRACE ------",
            "838:M 27 Nov 2026 04:13:42.023 # Bio thread for job type #0 terminated",
            "=== REDIS BUG REPORT END. Make sure to include from START to END. ===",
            "       Please report the crash by opening an issue on github:",
            "838:M 27 Nov 2026 04:13:43.000 * x",
        ];
        assert_eq!(places(&lines), [Outside, Start, Inside, Inside, Inside, Inside, Outside, Outside]);
    }

    #[test]
    fn ends_with_the_process_that_wrote_it() {
        let crashed = "838:M 27 Nov 2026 04:13:42.022 # Redis 7.0.15 crashed by signal: 11, si_code: 2";
        let restarted = "839:C 27 Nov 2026 04:13:50.000 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo";
        let other = "2026-11-27 04:13:50,000 INFO redis_mgr MainThread: redis:4 started";
        let json = r#"{"time": 1795752829, "level": "info"}"#;
        for (line, expected) in [(restarted, Outside), (other, Outside), (json, Inside)] {
            assert_eq!(places(&[BANNER, crashed, "EIP:", line])[3], expected, "{line}");
        }
        assert_eq!(places(&[BANNER, BANNER]), [Start, Start]);
    }
}
