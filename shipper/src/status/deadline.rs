//! When log rotation deletes lines that Loki has not acknowledged: the lag as a deadline.
//!
//! Redis Enterprise rotates its logs by a known policy. From it, the rate at which a file is written and the place of the
//! oldest unacknowledged line follows the time of its deletion, if nothing more is acknowledged. Every estimate errs on the
//! early side. This is not about bytes that are lost already: the metrics count those.

use std::time::{Duration, Instant};

/// Lines that wait for less are on their way: there is no deadline for them.
const ON_ITS_WAY: Duration = Duration::from_mins(1);
/// The write rate is an average over about this time: bursts shorter than this should not move the deadline much.
const AVERAGED_OVER: Duration = Duration::from_mins(10);
/// Below this, somebody has to act today, and below this, now.
const SOON: [Duration; 2] = [Duration::from_hours(2), Duration::from_mins(15)];

/// How a log file is rotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// A larger live file is rotated.
    pub(crate) max_size: u64,
    /// How many rotated files are kept.
    pub(crate) kept: u32,
    /// A rotated file of this age is deleted.
    pub(crate) max_age: Duration,
    /// A file is rotated at least this often,
    pub(crate) longest: Duration,
    /// and at most this often, because the sizes are checked this often.
    pub(crate) shortest: Duration,
}

/// The policy of Redis Enterprise: `maxsize 200M`, `rotate 10`, `maxage 7`, `daily`, run every five minutes.
pub(crate) const REDIS_ENTERPRISE: Policy = Policy {
    max_size: 200 << 20,
    kept: 10,
    max_age: Duration::from_hours(7 * 24),
    longest: Duration::from_hours(24),
    shortest: Duration::from_mins(5),
};

/// How a file stands that has lines which Loki has not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// How long the oldest of these lines has waited.
    pub(crate) waits: Duration,
    /// How often the file that holds it has been rotated: 0 for the live file.
    pub(crate) rotations: u32,
    /// How long nothing has been written to that file.
    pub(crate) quiet: Duration,
    /// The size of the live file.
    pub(crate) live_size: u64,
    /// How fast the live file grows.
    pub(crate) bytes_per_second: f64,
}

impl Policy {
    /// When the oldest of the lines is deleted, if nothing more is acknowledged; `None` while they are on their way.
    pub(crate) fn until_loss(&self, standing: &Standing) -> Option<Duration> {
        (standing.waits >= ON_ITS_WAY).then(|| self.by_age(standing).min(self.by_number(standing)))
    }

    /// Until the file is too old. Rotation goes by the time of the last write.
    fn by_age(&self, standing: &Standing) -> Duration {
        self.max_age.saturating_sub(standing.quiet)
    }

    /// Until there are too many younger files.
    fn by_number(&self, standing: &Standing) -> Duration {
        // A file beyond the policy is still there, so more are kept. It may go with the next rotation all the same.
        let rotations_left = (self.kept + 1).saturating_sub(standing.rotations).max(1);
        // The next rotation of the day may be due at any moment; only a file that grows tells its own.
        let first = self.time_to_write(self.max_size.saturating_sub(standing.live_size), standing).min(self.longest);
        let each = self.time_to_write(self.max_size, standing).clamp(self.shortest, self.longest);
        first.saturating_add(each.saturating_mul(rotations_left - 1))
    }

    /// How long it takes to write so many bytes.
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact size")]
    fn time_to_write(&self, bytes: u64, standing: &Standing) -> Duration {
        let seconds = bytes as f64 / standing.bytes_per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(self.longest)
    }
}

/// How near a deadline is: how many of the limits in `SOON` it is below.
pub(crate) fn urgency(until_loss: Option<Duration>) -> usize {
    until_loss.map_or(0, |left| SOON.iter().filter(|limit| left < **limit).count())
}

/// How fast a file is written: an average of the past minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteRate {
    /// The first and the last observation, with the size of the file at the last.
    seen: Option<(Instant, Instant, u64)>,
    bytes_per_second: f64,
}

impl WriteRate {
    /// The live file had this size at this time.
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact size")]
    pub(crate) fn observe(&mut self, size: u64, now: Instant) {
        let Some((first, last, before)) = self.seen else {
            self.seen = Some((now, now, size));
            return;
        };
        if now <= last {
            return;
        }
        let passed = now.saturating_duration_since(last).as_secs_f64();
        // A smaller file is a new one, or was truncated: everything in it was written since.
        let written = size.checked_sub(before).unwrap_or(size);
        // The first minutes count in full, as there is nothing before them.
        let window = now.saturating_duration_since(first).min(AVERAGED_OVER).as_secs_f64();
        let weight = (passed / window).min(1.0);
        self.bytes_per_second += weight * (written as f64 / passed - self.bytes_per_second);
        self.seen = Some((first, now, size));
    }

    /// The average.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const MIB_PER_SECOND: f64 = 1_048_576.0;
    const HOUR: Duration = Duration::from_hours(1);
    const DAY: Duration = Duration::from_hours(24);

    fn standing() -> Standing {
        Standing { waits: HOUR, rotations: 0, quiet: Duration::ZERO, live_size: 0, bytes_per_second: 0.0 }
    }

    fn left(standing: Standing) -> Option<Duration> {
        REDIS_ENTERPRISE.until_loss(&standing)
    }

    #[test]
    fn a_quiet_file_is_kept_for_its_age() {
        assert_eq!(left(standing()), Some(7 * DAY));
        assert_eq!(left(Standing { quiet: 5 * DAY, rotations: 1, ..standing() }), Some(2 * DAY));
        assert_eq!(left(Standing { quiet: 8 * DAY, rotations: 1, ..standing() }), Some(Duration::ZERO));
    }

    #[test]
    fn a_busy_file_is_kept_for_ten_rotations_after_its_own() {
        // 200 MiB in 200 seconds would be a rotation, but the sizes are checked every five minutes.
        let busy = Standing { bytes_per_second: MIB_PER_SECOND, ..standing() };
        assert_eq!(left(busy), Some(Duration::from_secs(200 + 10 * 300)));
        // 200 MiB in 2,000 seconds.
        let steady = Standing { bytes_per_second: MIB_PER_SECOND / 10.0, ..standing() };
        assert_eq!(left(steady), Some(Duration::from_secs(11 * 2000)));
        // Half of the live file is written, and the line stands in the seventh of the rotated files.
        let late = Standing { rotations: 7, live_size: 100 * MIB, ..steady };
        assert_eq!(left(late), Some(Duration::from_secs(1000 + 3 * 2000)));
        let last = Standing { rotations: 10, live_size: 200 * MIB, ..steady };
        assert_eq!(left(last), Some(Duration::ZERO));
    }

    #[test]
    fn a_file_that_is_kept_beyond_the_policy_goes_with_the_next_rotation() {
        let steady = Standing { bytes_per_second: MIB_PER_SECOND / 10.0, rotations: 25, ..standing() };
        assert_eq!(left(steady), Some(Duration::from_secs(2000)));
    }

    #[test]
    fn lines_on_their_way_have_no_deadline() {
        let busy = Standing { bytes_per_second: 1e9, rotations: 10, ..standing() };
        assert_eq!(left(Standing { waits: Duration::from_secs(59), ..busy }), None);
        assert!(left(Standing { waits: Duration::from_mins(1), ..busy }).is_some());
    }

    #[test]
    fn becomes_urgent_twice() {
        let minutes = |minutes| urgency(Some(Duration::from_mins(minutes)));
        assert_eq!(urgency(None), 0);
        assert_eq!(
            [minutes(121), minutes(120), minutes(119), minutes(15), minutes(14), minutes(0)],
            [0, 0, 1, 1, 2, 2]
        );
    }

    #[test]
    fn a_rate_is_the_average_of_the_past_minutes() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut rate = WriteRate::default();
        rate.observe(1000 * MIB, after(0));
        assert!(rate.bytes_per_second() < 1.0, "what was there before was not written now");
        for second in 1..=60 {
            rate.observe(1000 * MIB + second * 100, after(second));
        }
        assert!((rate.bytes_per_second() - 100.0).abs() < 1.0, "{rate:?}");
        // A rotation: the file begins anew and grows as before.
        rate.observe(6000, after(120));
        assert!((rate.bytes_per_second() - 100.0).abs() < 1.0, "{rate:?}");
        // Nothing is written any more; after an hour hardly anything is left of it.
        for second in 121..=3720 {
            rate.observe(6000, after(second));
        }
        assert!(rate.bytes_per_second() < 1.0, "{rate:?}");
    }

    #[test]
    fn a_burst_is_spread_over_the_minutes() {
        let start = Instant::now();
        let mut rate = WriteRate::default();
        for minute in 0..=30 {
            rate.observe(0, start + Duration::from_mins(minute));
        }
        rate.observe(60 * MIB, start + Duration::from_mins(31));
        let tenth = MIB_PER_SECOND / 10.0;
        assert!((rate.bytes_per_second() - tenth).abs() < 1.0, "{rate:?}");
    }

    prop_compose! {
        fn any_standing()(
            waits in 60_u64..1_000_000, rotations in 0_u32..20, quiet in 0_u64..1_000_000,
            live_size in 0_u64..500 * MIB, bytes_per_second in 0.0..1e9,
        ) -> Standing {
            let seconds = Duration::from_secs;
            Standing { waits: seconds(waits), rotations, quiet: seconds(quiet), live_size, bytes_per_second }
        }
    }

    proptest! {
        #[test]
        fn whatever_brings_deletion_nearer_never_makes_the_deadline_later(
            standing in any_standing(), more in 1_u32..5, faster in 1.0..10.0,
        ) {
            let now = left(standing).unwrap();
            prop_assert!(now <= REDIS_ENTERPRISE.max_age);
            for nearer in [
                Standing { rotations: standing.rotations + more, ..standing },
                Standing { quiet: standing.quiet + HOUR * more, ..standing },
                Standing { live_size: standing.live_size + MIB * u64::from(more), ..standing },
                Standing { bytes_per_second: standing.bytes_per_second * faster, ..standing },
            ] {
                prop_assert!(left(nearer).unwrap() <= now, "{nearer:?}");
            }
        }

        /// A rotation that happens as foreseen neither jumps ahead nor puts the deadline off by more than its own interval.
        #[test]
        fn a_rotation_takes_its_own_time_off_the_deadline(
            rotations in 0_u32..10, bytes_per_second in 1e3..6e5,
        ) {
            let full = Standing { rotations, live_size: 200 * MIB, bytes_per_second, ..standing() };
            let rotated = Standing { rotations: rotations + 1, live_size: 0, ..full };
            let (before, after) = (left(full).unwrap(), left(rotated).unwrap());
            let difference = before.abs_diff(after);
            prop_assert!(difference <= Duration::from_secs(1), "{before:?} {after:?}");
        }
    }
}
