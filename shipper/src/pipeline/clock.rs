//! The wall clock, and whether it is in doubt.
//!
//! The clock dates entries, and Loki rejects entries that are minutes ahead of it. Somebody may set the clock wrong and correct it
//! a moment later. Such a clock must not date anything. So after a jump forward nothing is handed out until the clock has stayed
//! there for a while. A clock that is set back is accepted at once, because Loki accepts older entries.

use std::time::{Duration, Instant};

use crate::entries::ACCEPTED_AHEAD;
use crate::tail::Now;

/// A clock that jumped forward is accepted after it has stayed there for this long.
const STAYS: Duration = Duration::from_secs(10);

/// Compares the wall clock with the time that has passed.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The last accepted time.
    accepted: Option<Now>,
    /// Since when the clock has been ahead of the time that passed since then.
    ahead_since: Option<Instant>,
}

impl WallClock {
    /// The current time. While the clock is in doubt, the last accepted time and the time that has passed since then.
    pub(super) fn read(&mut self, seen: Now) -> Now {
        let Some(accepted) = self.accepted else { return self.accept(seen) };
        let passed = seen.instant.saturating_duration_since(accepted.instant);
        let expected = accepted.clock.saturating_add(i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX));
        if seen.clock <= expected.saturating_add(ACCEPTED_AHEAD) {
            return self.accept(seen);
        }
        let since = *self.ahead_since.get_or_insert(seen.instant);
        if seen.instant.saturating_duration_since(since) >= STAYS {
            tracing::warn!(
                seconds = (seen.clock - expected) / 1_000_000_000,
                "the clock moved forward and stayed there; it is accepted now"
            );
            return self.accept(seen);
        }
        Now { clock: expected, ..seen }
    }

    /// Whether the clock may be wrong.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.ahead_since.is_some()
    }

    fn accept(&mut self, seen: Now) -> Now {
        self.ahead_since = None;
        self.accepted = Some(seen);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    /// The current time, and whether it is in doubt, if the clock says `says` this many seconds after the start.
    fn at(clock: &mut WallClock, start: Instant, seconds: u64, says: i64) -> (i64, bool) {
        let now = clock.read(Now { instant: start + Duration::from_secs(seconds), clock: says });
        (now.clock, clock.is_in_doubt())
    }

    #[test]
    fn does_not_accept_a_clock_that_is_ahead_for_a_moment() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        assert_eq!(at(&mut clock, start, 0, 0), (0, false));
        assert_eq!(at(&mut clock, start, 1, HOUR), (1_000_000_000, true));
        assert_eq!(at(&mut clock, start, 3, 3_000_000_000), (3_000_000_000, false));
        assert_eq!(at(&mut clock, start, 20, HOUR), (20_000_000_000, true));
    }

    #[test]
    fn accepts_a_clock_that_stays_ahead() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        at(&mut clock, start, 0, 0);
        at(&mut clock, start, 1, HOUR);
        assert_eq!(at(&mut clock, start, 11, HOUR), (HOUR, false));
        assert_eq!(at(&mut clock, start, 12, HOUR + 1), (HOUR + 1, false));
    }

    #[test]
    fn accepts_a_clock_that_is_set_back_or_a_little_forward_at_once() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        at(&mut clock, start, 0, HOUR);
        assert_eq!(at(&mut clock, start, 1, 0), (0, false));
        assert_eq!(at(&mut clock, start, 2, HOUR / 12), (HOUR / 12, false));
    }
}
