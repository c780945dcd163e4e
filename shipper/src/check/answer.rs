//! What the gateway or Loki answers to an empty push: the permission, the tenant, the path, the limits, and the clock.

use std::time::{Duration, SystemTime};

use findings::{Check, Outcome};

use super::words::{about, check, skipped};
use crate::push::{Probe, PushSettings, ahead_seconds, probe, wrong_clock};

const ACCEPTED: &str = "an empty push is accepted";
const CLOCK: &str = "the clock agrees with the server";

/// Pushes nothing, unless there is an obstacle.
pub(super) async fn checks(push: &PushSettings, obstacle: Option<&str>) -> Vec<Check> {
    if let Some(why) = obstacle {
        return vec![skipped(ACCEPTED, why), skipped(CLOCK, why)];
    }
    let Probe { answer, finding, date } = probe(push).await;
    let accepted = finding.map_or_else(|| Outcome::Passed(answer), Outcome::Found);
    let clock = date.map_or_else(|| skipped(CLOCK, "the answer has no date"), |date| clock(date, SystemTime::now()));
    vec![check(ACCEPTED, accepted), clock]
}

/// Compares the `Date` of an answer, in whole seconds, with the wall clock.
fn clock(date: SystemTime, now: SystemTime) -> Check {
    let ahead_seconds = ahead_seconds(now, date);
    let passed = || Outcome::Passed(format!("to {}", about(Duration::from_secs(ahead_seconds.unsigned_abs()))));
    check(CLOCK, wrong_clock(ahead_seconds).map_or_else(passed, Outcome::Found))
}

#[cfg(test)]
mod tests {
    use findings::Code;

    use super::*;
    use crate::check::testing::findings;

    const SKEW: Duration = Duration::from_mins(1);

    #[test]
    fn finds_a_clock_that_is_more_than_a_minute_away() {
        let server = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
        let found = |now| findings(&[clock(server, now)]);
        for near in [server, server + SKEW, server - SKEW] {
            assert!(found(near).is_empty());
        }
        for far in [server + 2 * SKEW, server - 2 * SKEW] {
            assert_eq!(found(far), [Code::ClockSkew]);
        }
        assert!(format!("{:?}", clock(server, server - 3 * SKEW)).contains("180 seconds behind"));
    }
}
