//! The wall clock, as far as it is believed.
//!
//! Entries are dated by it, and Loki takes no entry that lies minutes ahead. A clock that leaps forward for a moment, as it
//! does where somebody sets it wrong and corrects it, must not date anything. So nothing is handed out until the clock has
//! stayed where it leapt to. A clock that is set back is believed at once: Loki takes what lies in the past.

use std::time::{Duration, Instant};

use crate::entries::ACCEPTED_AHEAD;
use crate::tail::Now;

/// A clock that leapt forward is believed once it has stayed there for so long.
const STAYS: Duration = Duration::from_secs(10);

/// The wall clock, compared with the time that has passed.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// When the clock was believed last.
    believed: Option<Now>,
    /// Since when it lies ahead of what has passed since then.
    ahead_since: Option<Instant>,
}

impl WallClock {
    /// The present by what the clock says now, or by the time that has passed while the clock is in doubt.
    pub(super) fn read(&mut self, seen: Now) -> Now {
        let Some(believed) = self.believed else { return self.believe(seen) };
        let passed = seen.instant.saturating_duration_since(believed.instant);
        let expected = believed.clock.saturating_add(i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX));
        if seen.clock <= expected.saturating_add(ACCEPTED_AHEAD) {
            return self.believe(seen);
        }
        let since = *self.ahead_since.get_or_insert(seen.instant);
        if seen.instant.saturating_duration_since(since) >= STAYS {
            tracing::warn!(
                seconds = (seen.clock - expected) / 1_000_000_000,
                "the clock was set forward, and is believed now"
            );
            return self.believe(seen);
        }
        Now { clock: expected, ..seen }
    }

    /// Whether the clock may be wrong.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.ahead_since.is_some()
    }

    fn believe(&mut self, seen: Now) -> Now {
        self.ahead_since = None;
        self.believed = Some(seen);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    /// What a clock that starts at zero is believed to say, so many seconds later, when it says `clock`.
    fn at(clock: &mut WallClock, start: Instant, seconds: u64, says: i64) -> (i64, bool) {
        let now = clock.read(Now { instant: start + Duration::from_secs(seconds), clock: says });
        (now.clock, clock.is_in_doubt())
    }

    #[test]
    fn does_not_believe_a_clock_that_is_ahead_for_a_moment() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        assert_eq!(at(&mut clock, start, 0, 0), (0, false));
        assert_eq!(at(&mut clock, start, 1, HOUR), (1_000_000_000, true));
        assert_eq!(at(&mut clock, start, 3, 3_000_000_000), (3_000_000_000, false));
        assert_eq!(at(&mut clock, start, 20, HOUR), (20_000_000_000, true));
    }

    #[test]
    fn believes_a_clock_that_stays_ahead() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        at(&mut clock, start, 0, 0);
        at(&mut clock, start, 1, HOUR);
        assert_eq!(at(&mut clock, start, 11, HOUR), (HOUR, false));
        assert_eq!(at(&mut clock, start, 12, HOUR + 1), (HOUR + 1, false));
    }

    #[test]
    fn believes_a_clock_that_is_set_back_or_a_little_forward_at_once() {
        let (mut clock, start) = (WallClock::default(), Instant::now());
        at(&mut clock, start, 0, HOUR);
        assert_eq!(at(&mut clock, start, 1, 0), (0, false));
        assert_eq!(at(&mut clock, start, 2, HOUR / 12), (HOUR / 12, false));
    }
}
