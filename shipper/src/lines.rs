//! Bytes to lines, and lines to the texts of entries: a line that tells no time continues the one before it.
//!
//! A line over the limit comes in pieces of exactly that length, so nothing of it is dropped, memory stays bounded, and
//! the cuts depend on nothing but the bytes. So do the ends of texts, but for one: where nothing follows (yet), somebody
//! has to say that a text is complete.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// One line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without its line ending.
    pub text: &'a [u8],
    /// How many bytes of the file it takes, line ending included.
    pub consumed: usize,
    /// Whether it is a piece that the limit cut off.
    pub cut: bool,
}

/// The next line of `bytes`. `None` where it is not complete yet: it is held, never flushed by time.
///
/// `at_end` says that nothing will ever follow these bytes, so that an unfinished last line is a line as well.
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

/// How many NULs `bytes` begin with: what a writer leaves that goes on at its old place after a truncation.
pub fn hole(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == 0).count()
}

/// What an entry says: one line, or more that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Without the last line ending.
    pub text: &'a [u8],
    /// How many bytes of the file it takes, line endings included.
    pub consumed: usize,
    /// Whether the limit cut a line.
    pub cut: bool,
    /// When its first line says it was.
    pub told: Option<i64>,
    /// What the line after it says, where that is known already.
    pub next: Option<i64>,
}

impl<'a> Text<'a> {
    /// The text as an entry says it: the lines in it end as lines do in Loki, without a carriage return.
    pub fn said(&self) -> Cow<'a, [u8]> {
        let Some(first) = memmem::find(self.text, b"\r\n") else { return Cow::Borrowed(self.text) };
        let (start, mut rest) = self.text.split_at_checked(first).unwrap_or((self.text, b""));
        let mut said = Vec::with_capacity(self.text.len());
        said.extend_from_slice(start);
        while let [byte, after @ ..] = rest {
            if !rest.starts_with(b"\r\n") {
                said.push(*byte);
            }
            rest = after;
        }
        Cow::Owned(said)
    }
}

/// Where texts end.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// No text is longer.
    pub limit: usize,
    /// Whether lines that tell no time continue the one before them, though that one tells none either.
    pub joins: bool,
    /// Whether lines are joined at all.
    pub multiline: bool,
    /// Nothing will ever follow the bytes.
    pub at_end: bool,
}

/// The text at the beginning of `bytes`, or how many bytes of complete lines wait for what comes after them.
///
/// `closed` is how many of the bytes are known to end with a complete text. `first` is what is known of the first line's
/// time, and `told` reads the time of others: of a line's beginning as of the whole line, or none.
pub fn next_text(
    bytes: &[u8],
    ends: Ends,
    closed: usize,
    first: Option<i64>,
    mut told: impl FnMut(&[u8]) -> Option<i64>,
) -> Result<Text<'_>, usize> {
    let Some(line) = next_line(bytes, ends.limit, ends.at_end) else { return Err(0) };
    let first = first.or_else(|| told(line.text));
    let mut text = Text { text: line.text, consumed: line.consumed, cut: line.cut, told: first, next: None };
    if !ends.multiline || !ends.joins && first.is_none() {
        return Ok(text);
    }
    while text.consumed != closed {
        let rest = bytes.get(text.consumed..).unwrap_or_default();
        if rest.first() == Some(&0) {
            return Ok(text);
        }
        let line = next_line(rest, ends.limit, ends.at_end);
        text.next = told(line.map_or(rest, |line| line.text));
        // A line that begins as one with a time is one, complete or not.
        if text.next.is_some() {
            return Ok(text);
        }
        let Some(line) = line else {
            // Its last byte may turn out to belong to the line ending.
            let too_long = text.consumed + rest.len() > ends.limit + 1;
            return if ends.at_end || too_long { Ok(text) } else { Err(text.consumed) };
        };
        if text.consumed + line.text.len() > ends.limit {
            return Ok(text);
        }
        text.text = bytes.get(..text.consumed + line.text.len()).unwrap_or_default();
        text.consumed += line.consumed;
    }
    Ok(text)
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

    /// A line with a time starts with `1` to `9`.
    fn told(line: &[u8]) -> Option<i64> {
        line.first().filter(|first| (b'1'..=b'9').contains(first)).map(|first| i64::from(*first))
    }

    const ENDS: Ends = Ends { limit: 20, joins: true, multiline: true, at_end: false };

    /// The texts, and how many bytes wait.
    fn texts(bytes: &[u8], ends: Ends, closed: usize) -> (Vec<&str>, usize) {
        let (mut texts, mut used, mut first) = (Vec::new(), 0, None);
        loop {
            match next_text(&bytes[used..], ends, closed.wrapping_sub(used), first, told) {
                Ok(text) => {
                    texts.push(str::from_utf8(text.text).unwrap());
                    used += text.consumed;
                    first = text.next;
                }
                Err(waiting) => return (texts, waiting),
            }
        }
    }

    #[test]
    fn joins_a_line_without_a_time_to_the_line_before_it() {
        assert_eq!(texts(b"1a\n b\n\n c\n2d\n3", ENDS, 0), (vec!["1a\n b\n\n c", "2d"], 0));
    }

    #[test]
    fn leaves_out_the_carriage_return_of_every_line() {
        let said =
            |bytes: &'static [u8]| next_text(bytes, Ends { at_end: true, ..ENDS }, 0, None, told).unwrap().said();
        assert_eq!(said(b"1a\r\n b\r\r\n\r c\r\n"), &b"1a\n b\r\n\r c"[..]);
        assert!(matches!(said(b"1a\n b\n"), Cow::Borrowed(b"1a\n b")));
    }

    #[test]
    fn holds_a_text_until_it_is_known_to_be_complete() {
        assert_eq!(texts(b"1a\n b\n", ENDS, 0), (vec![], 6));
        assert_eq!(texts(b"1a\n b\n c", ENDS, 0), (vec![], 6));
        assert_eq!(texts(b"1a\n b\n", ENDS, 6), (vec!["1a\n b"], 0));
        assert_eq!(texts(b"1a\n b\n", Ends { at_end: true, ..ENDS }, 0), (vec!["1a\n b"], 0));
    }

    #[test]
    fn ends_a_text_where_it_was_once_taken_to_end_whatever_came_after() {
        assert_eq!(texts(b"1a\n b\n c\n2", ENDS, 6), (vec!["1a\n b", " c"], 0));
    }

    #[test]
    fn joins_nothing_where_no_line_tells_a_time_or_nobody_wants_it() {
        let untimed = Ends { joins: false, ..ENDS };
        assert_eq!(texts(b"a\nb\n", untimed, 0), (vec!["a", "b"], 0));
        assert_eq!(texts(b"a\n1b\n c\n2", untimed, 0), (vec!["a", "1b\n c"], 0));
        assert_eq!(texts(b"1a\n b\n2", Ends { multiline: false, ..ENDS }, 0), (vec!["1a", " b"], 0));
    }

    #[test]
    fn ends_a_text_between_two_lines_before_it_gets_too_long() {
        let ends = Ends { limit: 7, ..ENDS };
        assert_eq!(texts(b"1a\n bcd\n e\n2", ends, 0), (vec!["1a\n bcd", " e"], 0));
        // Whether or not the line that is too much is complete.
        assert_eq!(texts(b"1a\n bcdef", ends, 0), (vec!["1a"], 0));
        assert_eq!(texts(b"1a\n bcde\n2", ends, 0), (vec!["1a", " bcde"], 0));
    }

    #[test]
    fn ends_a_text_before_a_hole() {
        assert_eq!(texts(b"1a\n b\n\0\0", ENDS, 0).0[0], "1a\n b");
    }

    #[test]
    fn knows_a_hole() {
        assert_eq!(hole(b"\0\0a\0"), 2);
        assert_eq!(hole(b"a"), 0);
    }

    proptest::proptest! {
        /// However many of the bytes are there at a time.
        #[test]
        fn texts_depend_on_the_bytes_alone(bytes in "[0-2a\r\n]{0,60}", seen in 0..60_usize) {
            let (whole, _) = texts(bytes.as_bytes(), ENDS, 0);
            let seen = &bytes.as_bytes()[..seen.min(bytes.len())];
            let (part, _) = texts(seen, ENDS, 0);
            proptest::prop_assert_eq!(&whole[..part.len()], &part[..]);
        }
    }
}
