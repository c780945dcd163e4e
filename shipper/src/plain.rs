//! Which bytes are plain: ASCII without carriage returns and escape sequences.
//!
//! Almost all log lines are plain. Their text needs no clean-up and no UTF-8 check. So one pass over the bytes, in steps and
//! independent of line endings, replaces two searches per entry.

use crate::formats::ESCAPE;

/// The bytes of one step. A step with one other byte is not plain. So texts near that byte cost two searches more.
const STEP: usize = 256;

/// How far the bytes of one read are checked.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The end of the last step that was checked.
    checked: usize,
    /// The end of the last step that is not plain.
    other: usize,
}

impl Plain {
    /// Whether `start..end` of `bytes` is certainly plain. Each call gets the same `bytes`, and `start` never goes back.
    pub(crate) fn covers(&mut self, bytes: &[u8], start: usize, end: usize) -> bool {
        self.checked = self.checked.max(start);
        while self.checked < end {
            let step = bytes.get(self.checked..).unwrap_or_default();
            let step = step.get(..STEP).unwrap_or(step);
            if step.is_empty() {
                return false;
            }
            self.checked += step.len();
            if !is_plain(step) {
                self.other = self.checked;
            }
        }
        start >= self.other
    }
}

/// Combines all bytes without a branch, so that the compiler uses the vectors of the processor.
fn is_plain(step: &[u8]) -> bool {
    let other = step.iter().fold(0, |other, byte| other | (byte & 0x80) | u8::from(*byte == b'\r' || *byte == ESCAPE));
    other == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn covers_no_text_with_another_byte(
            others in proptest::collection::vec((0..3000_usize, proptest::sample::select(&[b'\r', ESCAPE, 0x80, 0xff][..])), 0..4),
            lengths in proptest::collection::vec(0..400_usize, 1..40),
        ) {
            let mut bytes = vec![b'a'; 3000];
            for (at, byte) in &others {
                bytes[*at] = *byte;
            }
            let (mut plain, mut start) = (Plain::default(), 0);
            for length in lengths {
                let end = (start + length).min(bytes.len());
                let has_others = others.iter().any(|(at, _)| (start..end).contains(at));
                let is_far = others.iter().all(|(at, _)| at + STEP < start || *at >= end + STEP);
                let covers = plain.covers(&bytes, start, end);
                proptest::prop_assert!(!(covers && has_others), "{}..{}", start, end);
                proptest::prop_assert!(covers || !is_far, "{}..{}", start, end);
                start = end;
            }
        }
    }
}
