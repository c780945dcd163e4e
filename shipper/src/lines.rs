//! Bytes to lines. `texts` decides which lines belong together.
//!
//! A line over the limit is cut into pieces of exactly that length. So all of it is shipped, memory stays bounded, and the cuts
//! depend on the bytes alone.

use memchr::memchr;

/// One line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without its line ending.
    pub text: &'a [u8],
    /// Its bytes in the file, including the line ending.
    pub consumed: usize,
    /// Whether it is a piece of a line over the limit.
    pub cut: bool,
}

/// The next line of `bytes`. `None` if it is incomplete: it waits for its line ending, however long that takes.
///
/// `at_end` says that nothing will ever follow these bytes. Then an unfinished last line is a line, too.
pub fn next_line(bytes: &[u8], limit: usize, at_end: bool) -> Option<Line<'_>> {
    let window = bytes.get(..=limit).unwrap_or(bytes);
    match memchr(b'\n', window) {
        Some(end) => {
            let text = bytes.get(..end)?;
            Some(Line { text: text.strip_suffix(b"\r").unwrap_or(text), consumed: end + 1, cut: false })
        }
        None if bytes.len() > limit => Some(Line { text: bytes.get(..limit)?, consumed: limit, cut: true }),
        None if at_end && !bytes.is_empty() => Some(Line { text: bytes, consumed: bytes.len(), cut: false }),
        None => None,
    }
}

/// The number of NULs at the start of `bytes`. A writer leaves such a hole if it goes on at its old offset after a truncation.
pub fn hole(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8], limit: usize, at_end: bool) -> Vec<&[u8]> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(bytes, limit, at_end) {
            lines.push(line.text);
            bytes = &bytes[line.consumed..];
        }
        lines
    }

    #[test]
    fn ends_lines_at_newlines_and_keeps_empty_ones() {
        assert_eq!(all(b"a\r\n\nb\n", 10, false), [&b"a"[..], b"", b"b"]);
    }

    #[test]
    fn holds_an_unfinished_line_until_it_is_finished() {
        assert_eq!(all(b"a\nb", 10, false), [&b"a"[..]]);
        assert_eq!(all(b"a\nb", 10, true), [&b"a"[..], b"b"]);
    }

    #[test]
    fn cuts_a_line_over_the_limit_into_pieces_and_leaves_its_neighbours_alone() {
        assert_eq!(all(b"ab\nabcdefgh\ncd\n", 3, false), [&b"ab"[..], b"abc", b"def", b"gh", b"cd"]);
        assert_eq!(all(b"abc\nabc\n", 3, false), [&b"abc"[..], b"abc"]);
    }

    #[test]
    fn cuts_at_the_same_places_whether_or_not_the_line_is_complete_yet() {
        assert_eq!(all(b"abcdefg", 3, false), [&b"abc"[..], b"def"]);
    }

    #[test]
    fn knows_a_hole() {
        assert_eq!(hole(b"\0\0a\0"), 2);
        assert_eq!(hole(b"a"), 0);
    }
}
