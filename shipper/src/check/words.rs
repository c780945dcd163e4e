//! Checks in the words of the report.

use std::time::Duration;

use findings::{Check, Outcome};

/// A check with its outcome.
pub(super) fn check(check: impl Into<String>, outcome: Outcome) -> Check {
    Check { check: check.into(), outcome }
}

/// A check that was not made, for a reason.
pub(super) fn skipped(what: impl Into<String>, why: impl Into<String>) -> Check {
    check(what, Outcome::Skipped(why.into()))
}

/// A duration in its largest unit of which there are at least two, such as `52 minutes`.
pub(super) fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("days", 86_400), ("hours", 3600), ("minutes", 60)];
    let fits = units.into_iter().find(|(_, length)| seconds >= 2 * length);
    fits.map_or_else(|| format!("{seconds} seconds"), |(unit, length)| format!("{} {unit}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_duration_in_its_largest_unit() {
        for (seconds, words) in
            [(0, "0 seconds"), (119, "119 seconds"), (7199, "119 minutes"), (7200, "2 hours"), (200_000, "2 days")]
        {
            assert_eq!(about(Duration::from_secs(seconds)), words);
        }
    }
}
