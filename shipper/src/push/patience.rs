//! How long to wait after a failure, and how often to log it.

use std::collections::BTreeMap;
use std::time::Duration;

use findings::Code;
use tokio::time::Instant;

use super::answer::Trouble;
use super::finding::{Failure, rejection};
use super::rejections::{Reason, Rejections};

/// The first wait after a failure. Each further wait may be twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait. After many failures with the token or the permission it is the shortest wait: a gateway caches a refusal
/// for a minute, and each question costs the API server a review.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait for entries that are too new: Loki may have stored a part of the batch, which each retry resends.
const LONGEST_WAIT_FOR_TIME: Duration = Duration::from_mins(5);
/// A failure that lasts is logged again after this time.
const REMINDER: Duration = Duration::from_mins(1);

/// Exponential backoff with full jitter, capped, and at least what the answer asked for.
pub(super) fn wait(failures: u32, trouble: &Trouble) -> Duration {
    let longest = if *trouble == Trouble::TooNew { LONGEST_WAIT_FOR_TIME } else { LONGEST_WAIT };
    let most = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(longest);
    let part = most.mul_f64(rand::random::<f64>());
    let wait = if trouble.concerns_token() && most == LONGEST_WAIT { most + part } else { part.max(FIRST_WAIT / 5) };
    wait.max(trouble.retry_after().unwrap_or_default())
}

/// Logs failures and rejections, each reason at most once a minute.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    ongoing: Option<Ongoing>,
    rejected: BTreeMap<Reason, Instant>,
}

/// A failure that lasts.
#[derive(Debug)]
struct Ongoing {
    reason: &'static str,
    code: Code,
    since: Instant,
    logged: Instant,
}

impl FailureLog {
    /// Logs a failed push, unless this reason was logged within the last minute.
    pub(super) fn failure(&mut self, url: &str, failure: &Failure<'_>) {
        let (now, reason, finding) = (Instant::now(), failure.trouble.reason(), failure.finding);
        let since = match &mut self.ongoing {
            Some(known) if (known.reason, known.code) == (reason, finding.code) && now - known.logged < REMINDER => {
                return;
            }
            Some(known) => known.since,
            None => now,
        };
        self.ongoing = Some(Ongoing { reason, code: finding.code, since, logged: now });
        let (code, problem, answer, fix) = (finding.code.as_str(), &*finding.problem, failure.answer, &*finding.fix);
        if failure.trouble.needs_somebody() {
            tracing::error!(
                code,
                url,
                reason,
                answer,
                problem,
                fix,
                "holding: nothing is lost, pushing goes on by itself once this is fixed"
            );
        } else {
            tracing::warn!(code, url, reason, answer, problem, fix, "push failed, retrying");
        }
    }

    /// Logs the end of a failure.
    pub(super) fn success(&mut self) {
        if let Some(over) = self.ongoing.take() {
            let code = over.code.as_str();
            tracing::info!(code, reason = over.reason, for_seconds = over.since.elapsed().as_secs(), "pushing again");
        }
    }

    /// Logs rejected entries. The metrics count all of them.
    pub(super) fn rejected(&mut self, rejected: &Rejections, mut answer: impl FnMut(Reason) -> String) {
        for (reason, entries) in rejected.iter() {
            let already_logged = self.rejected.get(&reason).is_some_and(|logged| logged.elapsed() < REMINDER);
            if !already_logged {
                self.rejected.insert(reason, Instant::now());
                let finding = rejection(reason);
                let (code, problem, fix) = (finding.code.as_str(), finding.problem, finding.fix);
                let (reason, answer) = (reason.word(), answer(reason));
                tracing::warn!(
                    code,
                    reason,
                    entries,
                    answer,
                    problem,
                    fix,
                    "entries were rejected for good and are not in Loki"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::answer::Limit;
    use crate::push::fault::ConnectionFault;

    #[test]
    fn waits_longer_with_every_failure_but_never_too_long() {
        assert!((0..100).all(|failures| wait(failures, &Trouble::NoAnswer(ConnectionFault::Refused)) <= LONGEST_WAIT));
        let first = (0..100).map(|_| wait(0, &Trouble::Forbidden));
        assert!(first.into_iter().all(|wait| wait <= FIRST_WAIT && wait >= FIRST_WAIT / 5));
    }

    #[test]
    fn asks_for_a_permission_once_or_twice_a_minute_in_the_long_run() {
        for _ in 0..100 {
            let wait = wait(50, &Trouble::Forbidden);
            assert!((LONGEST_WAIT..=2 * LONGEST_WAIT).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn waits_as_long_as_it_is_asked_to() {
        let asked = Duration::from_mins(5);
        assert_eq!(wait(0, &Trouble::Throttled { limit: Limit::Unknown, after: Some(asked), over: false }), asked);
        assert_eq!(wait(0, &Trouble::Unavailable(Some(asked))), asked);
    }
}
