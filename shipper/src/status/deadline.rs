//! When log rotation deletes lines that Loki has not acknowledged: the lag as a deadline.
//!
//! Redis Enterprise rotates its logs by a known policy. The policy, the write rate of a file and the position of the oldest
//! unacknowledged line give the time at which this line is deleted if nothing more is acknowledged. Every estimate is rather too
//! early than too late. Metrics count the bytes that are already lost.

use std::time::{Duration, Instant};

/// Lines that have waited for less have no deadline yet.
const ON_ITS_WAY: Duration = Duration::from_mins(1);
/// The write rate is an average over about this time, so that shorter bursts move the deadline only a little.
const AVERAGED_OVER: Duration = Duration::from_mins(10);
/// Below the first limit, somebody must act today. Below the second limit, now.
const SOON: [Duration; 2] = [Duration::from_hours(2), Duration::from_mins(15)];

/// How a log file is rotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// A live file above this size is rotated.
    pub(crate) max_size: u64,
    /// The number of rotated files that are kept.
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

/// A file with unacknowledged lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// How long the oldest of these lines has waited.
    pub(crate) waits: Duration,
    /// How often the file with this line was rotated: 0 for the live file.
    pub(crate) rotations: u32,
    /// The time since the last write to this file.
    pub(crate) quiet: Duration,
    /// The size of the live file.
    pub(crate) live_size: u64,
    /// How fast the live file grows.
    pub(crate) bytes_per_second: f64,
}

impl Policy {
    /// When the oldest line is deleted if nothing more is acknowledged. `None` if the lines have waited only briefly.
    pub(crate) fn until_loss(&self, standing: &Standing) -> Option<Duration> {
        (standing.waits >= ON_ITS_WAY).then(|| self.by_age(standing).min(self.by_number(standing)))
    }

    /// The time until the file is too old. Rotation uses the time of the last write.
    fn by_age(&self, standing: &Standing) -> Duration {
        self.max_age.saturating_sub(standing.quiet)
    }

    /// The time until there are too many younger files.
    fn by_number(&self, standing: &Standing) -> Duration {
        // The file is beyond the policy, so more files are kept than expected. The next rotation may still delete it.
        let rotations_left = (self.kept + 1).saturating_sub(standing.rotations).max(1);
        // The daily rotation may be due at any moment. Only the size of a growing file gives a better estimate.
        let first = self.time_to_write(self.max_size.saturating_sub(standing.live_size), standing).min(self.longest);
        let each = self.time_to_write(self.max_size, standing).clamp(self.shortest, self.longest);
        first.saturating_add(each.saturating_mul(rotations_left - 1))
    }

    /// The time to write this many bytes.
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact size")]
    fn time_to_write(&self, bytes: u64, standing: &Standing) -> Duration {
        let seconds = bytes as f64 / standing.bytes_per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(self.longest)
    }
}

/// How near a deadline is: the number of limits in `SOON` above it.
pub(crate) fn urgency(until_loss: Option<Duration>) -> usize {
    until_loss.map_or(0, |left| SOON.iter().filter(|limit| left < **limit).count())
}

/// The write rate of a file: an average of the past minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteRate {
    /// The first and the last observation, with the size of the file at the last.
    seen: Option<(Instant, Instant, u64)>,
    bytes_per_second: f64,
}

impl WriteRate {
    /// Adds the size of the live file at a time.
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
        // A smaller file is new or truncated, so all its bytes are new.
        let written = size.checked_sub(before).unwrap_or(size);
        // The first minutes count fully, because nothing precedes them.
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
        // Half of the live file is written, and the line is in the seventh rotated file.
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
        // After a rotation, a new file grows as before.
        rate.observe(6000, after(120));
        assert!((rate.bytes_per_second() - 100.0).abs() < 1.0, "{rate:?}");
        // Without writes, the rate is almost zero after an hour.
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

        /// An expected rotation does not move the deadline earlier, and moves it later by at most one interval.
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
