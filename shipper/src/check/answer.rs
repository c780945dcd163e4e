//! What the gateway or Loki answers to an empty push: the permission, the tenant, the path, the limits, and the clock.

use std::time::{Duration, SystemTime};

use findings::{Check, Code, Finding, Outcome};

use super::words::{about, check, skipped};
use crate::push::{Probe, PushSettings, probe};

/// A clock that differs by more than this is worth correcting.
const SKEW: Duration = Duration::from_mins(1);

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
    let (difference, direction) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if difference <= SKEW {
        return check(CLOCK, Outcome::Passed(format!("to {}", about(difference))));
    }
    let problem = format!("the clock of this node is {} {direction} the clock of the server", about(difference));
    let fix = "correct the clock of the node: it decides which tokens are valid and which lines are too old or too new";
    check(CLOCK, Outcome::Found(Finding::new(Code::ClockSkew, problem, fix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::findings;

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
        assert!(format!("{:?}", clock(server, server - 3 * SKEW)).contains("3 minutes behind"));
    }
}
