//! A limit on what is pushed per second, so that catching up after an outage leaves the network to the database.
//!
//! What counts is what goes over the wire: compressed bodies, resends included. A push that is larger than a second's worth
//! is not held back itself, the one after it waits the longer.

use std::time::Duration;

use tokio::time::Instant;

/// When the next push may go.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: Option<u64>,
    next: Instant,
}

impl Rate {
    /// So many bytes a second; as many as there are where none is given.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Instant::now() }
    }

    /// Waits until a push may go, and takes what `bytes` of it use up. Given up while it waits, it takes nothing.
    pub(super) async fn take(&mut self, bytes: usize) {
        let Some(limit) = self.bytes_per_second else { return };
        tokio::time::sleep_until(self.next).await;
        // Nothing is saved up while there is nothing to push: a second's worth is a second's worth.
        let used = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / limit.max(1));
        self.next = self.next.max(Instant::now()) + used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lets_so_many_bytes_a_second_through_and_saves_nothing_up() {
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
    async fn lets_a_push_larger_than_a_second_through_and_makes_the_next_one_wait() {
        let (mut rate, start) = (Rate::new(Some(1000)), Instant::now());
        rate.take(3000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_nothing_without_a_limit() {
        let (mut rate, start) = (Rate::new(None), Instant::now());
        rate.take(usize::MAX).await;
        rate.take(1).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
