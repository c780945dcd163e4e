//! A time as a line writes it.

/// A time, and the fraction of a second after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// To the second.
    pub(super) at: At,
    /// Nanoseconds after it.
    pub(super) nanos: u32,
}

/// A time to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In the time zone of the container.
    Local(DateTime),
    /// The same, without a year.
    Yearless(DateTime),
    /// The same, with its zone: this many seconds east of UTC.
    Offset(DateTime, i32),
    /// Seconds since 1970 UTC.
    Epoch(i64),
}

/// The digits of a date and a time, `YYYY-MM-DD?HH:MM:SS`. Neighboring lines share them. Stored as integers, they
/// compare and copy in a few instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime {
    /// `YYYY-MM-`.
    month: u64,
    /// `DD`.
    day: u16,
    /// `HH:MM:SS`.
    time: u64,
}

impl DateTime {
    /// The date and time that `text` begins with, and the rest. `dash` separates the date, `middle` stands before the time.
    pub(super) fn split_from(text: &[u8], dash: u8, middle: u8) -> Option<(Self, &[u8])> {
        let (bytes, rest) = text.split_first_chunk::<19>()?;
        let [y1, y2, y3, y4, s1, m1, m2, s2, d1, d2, space, h1, h2, c1, n1, n2, c2, t1, t2] = *bytes;
        let date_time = Self {
            month: u64::from_le_bytes([y1, y2, y3, y4, s1, m1, m2, s2]),
            day: u16::from_le_bytes([d1, d2]),
            time: u64::from_le_bytes([h1, h2, c1, n1, n2, c2, t1, t2]),
        };
        let fits = has_shape(date_time.month, [b'0', b'0', b'0', b'0', dash, b'0', b'0', dash])
            && has_shape(date_time.time, *b"00:00:00")
            && d1.is_ascii_digit()
            && d2.is_ascii_digit()
            && space == middle;
        fits.then_some((date_time, rest))
    }

    /// Year, month, day, hour, minute, second.
    pub(super) fn fields(self) -> [u16; 6] {
        let two = |ten: u8, one: u8| 10 * digit(ten) + digit(one);
        let ([y1, y2, y3, y4, _, m1, m2, _], [d1, d2]) = (self.month.to_le_bytes(), self.day.to_le_bytes());
        let [h1, h2, _, n1, n2, _, s1, s2] = self.time.to_le_bytes();
        [100 * two(y1, y2) + two(y3, y4), two(m1, m2), two(d1, d2), two(h1, h2), two(n1, n2), two(s1, s2)]
    }
}

/// Whether `word` has this shape, in which `0` stands for any digit.
fn has_shape(word: u64, shape: [u8; 8]) -> bool {
    let zeros = u64::from_le_bytes([b'0'; 8]);
    let upper_halves = u64::from_le_bytes([0xf0; 8]);
    let separators = u64::from_le_bytes(shape.map(|byte| if byte == b'0' { 0 } else { 0xff }));
    // Each separator becomes a zero, a digit stays itself.
    let digits = word ^ u64::from_le_bytes(shape) ^ zeros;
    // Six more than a digit has the same upper half. Larger bytes with this upper half leave it.
    (digits ^ zeros) & separators == 0
        && digits & upper_halves == zeros
        && digits.wrapping_add(u64::from_le_bytes([6; 8])) & upper_halves == zeros
}

fn digit(byte: u8) -> u16 {
    u16::from(byte.wrapping_sub(b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_digits_and_nothing_else_at_every_place_of_a_digit() {
        let text = *b"2026-02-20 22:31:07 x";
        let read = |text: &[u8]| DateTime::split_from(text, b'-', b' ').map(|(read, rest)| (read.fields(), rest.len()));
        assert_eq!(read(&text), Some(([2026, 2, 20, 22, 31, 7], 2)));
        for at in 0..19 {
            for byte in 0..=u8::MAX {
                let mut changed = text;
                changed[at] = byte;
                let fits = if text[at].is_ascii_digit() { byte.is_ascii_digit() } else { byte == text[at] };
                assert_eq!(read(&changed).is_some(), fits, "{byte:#x} at {at}");
            }
        }
        assert_eq!(read(&text[..18]), None);
    }
}
