//! A limit on the bytes pushed per second, so that catching up after an outage does not take the database's network.
//!
//! The limit counts compressed bodies, including resends. A push that exceeds a second's limit is not delayed itself, but the
//! next push waits longer.

use std::time::Duration;

use tokio::time::Instant;

/// When the next push may begin.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: Option<u64>,
    next: Instant,
}

impl Rate {
    /// A limit of bytes per second, or no limit.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Instant::now() }
    }

    /// Waits until a push of `bytes` may begin, then uses up its share of the limit. If the future is dropped during the wait,
    /// nothing is used up.
    pub(super) async fn take(&mut self, bytes: usize) {
        let Some(limit) = self.bytes_per_second else { return };
        tokio::time::sleep_until(self.next).await;
        // Idle time does not add up: after it, the limit is the same.
        let used = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / limit.max(1));
        self.next = self.next.max(Instant::now()) + used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_bytes_per_second_even_after_idle_time() {
        let mut rate = Rate::new(Some(1000));
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
        let (mut rate, start) = (Rate::new(Some(1000)), Instant::now());
        rate.take(3000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_without_a_limit() {
        let (mut rate, start) = (Rate::new(None), Instant::now());
        rate.take(usize::MAX).await;
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
