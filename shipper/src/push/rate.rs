//! A limit on the bytes pushed per second, so that catching up after an outage does not take the database's network.
//!
//! The limit counts compressed bodies, including resends. A push that exceeds a second's limit is not delayed itself, but the
//! next push waits longer. The limit may change while a push waits.

use std::time::Duration;

use bytesize::ByteSize;
use tokio::sync::watch;
use tokio::time::Instant;

/// The smallest and the largest limit in bytes.
const BOUNDS: (u64, u64) = (1 << 10, 1 << 40);

/// How much may be pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimit {
    /// Any amount.
    #[default]
    None,
    /// So many compressed bytes per second.
    BytesPerSecond(u64),
}

impl RateLimit {
    /// Parses `none`, or a size such as `2MiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (least, most) = BOUNDS;
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        size.filter(|size| (least..=most).contains(size)).map(Self::BytesPerSecond).ok_or_else(|| {
            format!(
                "invalid rate limit {text:?}: expected none, or a size from {} to {}, such as 512KiB",
                ByteSize(least),
                ByteSize(most)
            )
        })
    }
}

/// When the next push may begin.
#[derive(Debug)]
pub(super) struct Rate {
    limit: watch::Receiver<RateLimit>,
    /// When the last push used up its share.
    since: Instant,
    /// How much that push was.
    bytes: u64,
}

impl Rate {
    /// A rate under a limit that may change.
    pub(super) fn new(limit: watch::Receiver<RateLimit>) -> Self {
        Self { limit, since: Instant::now(), bytes: 0 }
    }

    /// Waits until a push of `bytes` may begin, then uses up its share of the limit. If the future is dropped during the wait,
    /// nothing is used up.
    pub(super) async fn take(&mut self, bytes: usize) {
        loop {
            let limit = *self.limit.borrow_and_update();
            let RateLimit::BytesPerSecond(limit) = limit else {
                self.bytes = 0;
                return;
            };
            let next = self.since + Duration::from_nanos(self.bytes.saturating_mul(1_000_000_000) / limit.max(1));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {
                    // Idle time does not add up: after it, the limit is the same.
                    (self.since, self.bytes) = (next.max(Instant::now()), bytes as u64);
                    return;
                }
                Ok(()) = self.limit.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: RateLimit) -> (watch::Sender<RateLimit>, Rate) {
        let (sender, receiver) = watch::channel(limit);
        (sender, Rate::new(receiver))
    }

    #[tokio::test(start_paused = true)]
    async fn limits_bytes_per_second_even_after_idle_time() {
        let (_limit, mut rate) = rate(RateLimit::BytesPerSecond(1000));
        for _ in 0..2 {
            tokio::time::advance(Duration::from_mins(1)).await;
            let start = Instant::now();
            for _ in 0..5 {
                rate.take(500).await;
            }
            assert_eq!(start.elapsed(), Duration::from_secs(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn makes_the_push_after_a_large_push_wait() {
        let (limit, mut rate) = rate(RateLimit::BytesPerSecond(1000));
        // Nobody changes it.
        drop(limit);
        let start = Instant::now();
        rate.take(3000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_without_a_limit() {
        let ((_limit, mut rate), start) = (rate(RateLimit::None), Instant::now());
        rate.take(usize::MAX).await;
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn goes_by_a_limit_that_changes_while_a_push_waits() {
        let ((limit, mut rate), start) = (rate(RateLimit::BytesPerSecond(1000)), Instant::now());
        rate.take(100_000).await;
        let change = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            limit.send(RateLimit::BytesPerSecond(10_000)).unwrap();
        };
        tokio::join!(rate.take(1_000_000), change);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        let change = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            limit.send(RateLimit::None).unwrap();
        };
        tokio::join!(rate.take(1), change);
        assert_eq!(start.elapsed(), Duration::from_secs(15));
    }

    #[test]
    fn is_a_size_or_none() {
        assert_eq!(RateLimit::parse("2MiB"), Ok(RateLimit::BytesPerSecond(2 << 20)));
        assert_eq!(RateLimit::parse("none"), Ok(RateLimit::None));
        for bad in ["fast", "1B", "2TiB", ""] {
            assert!(RateLimit::parse(bad).unwrap_err().contains("such as 512KiB"), "{bad}");
        }
    }
}
