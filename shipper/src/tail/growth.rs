//! Estimates when the bytes of a file were written, from its size at each scan.

use std::collections::VecDeque;
use std::time::Instant;

/// At most this many samples are kept. More are merged: a merged answer is too early, never too late.
const MAX_SAMPLES: usize = 32;

/// The sizes of a file over time.
#[derive(Debug, Default)]
pub(super) struct Growth(VecDeque<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The size of the file.
    size: u64,
    /// When the first byte since the previous sample was seen.
    at: Instant,
}

impl Growth {
    /// Adds a sample if the file grew.
    pub(super) fn seen(&mut self, size: u64, at: Instant) {
        if self.0.back().is_some_and(|last| last.size >= size) {
            return;
        }
        if self.0.len() == MAX_SAMPLES {
            // Each pair becomes one sample with the later size and the earlier time.
            let merged = self.0.iter().step_by(2).zip(self.0.iter().skip(1).step_by(2));
            self.0 = merged.map(|(first, second)| Sample { size: second.size, at: first.at }).collect();
        }
        self.0.push_back(Sample { size, at });
    }

    /// When the byte at `position` was seen first. Drops the samples of the bytes before it.
    pub(super) fn since(&mut self, position: u64) -> Option<Instant> {
        while self.0.front().is_some_and(|first| first.size <= position) {
            self.0.pop_front();
        }
        self.0.front().map(|first| first.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn knows_since_when_a_byte_waits() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut growth = Growth::default();
        for (seconds, size) in [(1, 10), (2, 10), (3, 20)] {
            growth.seen(size, after(seconds));
        }
        assert_eq!(growth.since(9), Some(after(1)));
        assert_eq!(growth.since(10), Some(after(3)));
        assert_eq!(growth.since(20), None);
    }

    #[test]
    fn keeps_a_bounded_number_of_samples_and_never_answers_too_late() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut growth = Growth::default();
        for n in 1..=1000 {
            growth.seen(n, after(n));
        }
        assert!(growth.0.len() <= MAX_SAMPLES);
        for position in [0, 1, 500, 998, 999] {
            assert!(growth.since(position).unwrap() <= after(position + 1), "{position}");
        }
        assert_eq!(growth.since(999), Some(after(1000)));
    }
}
