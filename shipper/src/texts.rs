//! Lines to the texts of entries: a line without a timestamp continues the line before it, and a crash report is one text.
//!
//! The end of a text depends on the bytes alone, with one exception: if no line follows for a while, the caller declares the
//! text complete, and remembers that.

use memchr::memchr2;

use crate::formats::level::Level;
use crate::formats::{self, CrashReport, Format, Place, Timestamp};
use crate::lines::next_line;

/// Some formats have lines that may be part of another entry. This many of them in a row are entries of their own: the file has a
/// new format from here on.
const RUN: usize = 3;

/// The text of an entry: one line, or several lines that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The bytes of the file, without the last line ending.
    pub raw: &'a [u8],
    /// Its bytes in the file, including line endings.
    pub consumed: usize,
    /// Whether the limit cut a line.
    pub cut: bool,
    /// The timestamp of its first line. For a crash report, the first timestamp in it.
    pub timestamp: Option<Timestamp>,
    /// Whether it is a crash report, or a piece of one.
    pub is_report: bool,
    /// The crash report that continues after it.
    pub report: Option<CrashReport>,
    /// The timestamp of the next line, if it is already known.
    pub next: Option<Timestamp>,
}

impl Text<'_> {
    /// The text without carriage returns before line endings, without escape sequences, and without empty lines at its end. If it
    /// differs from the bytes of the file, it is written to `scratch`.
    ///
    /// `is_plain` says that the text certainly has no carriage return and no escape sequence.
    pub fn said<'b>(&'b self, scratch: &'b mut Vec<u8>, is_plain: bool) -> &'b [u8] {
        let mut rest = self.raw;
        while let Some(text) = rest.strip_suffix(b"\n") {
            rest = text.strip_suffix(b"\r").unwrap_or(text);
        }
        let whole = rest;
        if is_plain {
            return whole;
        }
        scratch.clear();
        let mut is_changed = false;
        let mut from = 0;
        while let Some(at) = rest.get(from..).and_then(|after| memchr2(b'\r', formats::ESCAPE, after)) {
            let (before, after) = rest.split_at_checked(from + at).unwrap_or((rest, b""));
            let left_out = match after {
                [b'\r', b'\n', ..] => 1,
                [formats::ESCAPE, ..] => formats::sequence(after).unwrap_or(0),
                _ => 0,
            };
            if left_out == 0 {
                from += at + 1;
                continue;
            }
            is_changed = true;
            scratch.extend_from_slice(before);
            rest = after.get(left_out..).unwrap_or_default();
            from = 0;
        }
        if !is_changed {
            return whole;
        }
        scratch.extend_from_slice(rest);
        scratch
    }

    /// Its level. `said` is the result of [`Self::said`].
    pub fn level(&self, said: &[u8]) -> Option<Level> {
        if self.is_report { Some(Level::Critical) } else { self.timestamp?.format.level(said) }
    }
}

/// Where texts end.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The longest text in bytes.
    pub limit: usize,
    /// Whether a line without a timestamp also continues a line without one.
    pub joins: bool,
    /// Whether lines are joined at all.
    pub multiline: bool,
    /// Nothing will ever follow the bytes.
    pub at_end: bool,
    /// The format of the file so far.
    pub format: Option<Format>,
    /// The crash report that the lines before left open.
    pub report: Option<CrashReport>,
}

/// Complete lines that wait for the next line, which may continue them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Their length in bytes.
    pub bytes: usize,
    /// Whether they are a crash report whose end is missing.
    pub in_report: bool,
}

/// The text at the beginning of `bytes`, or the lines that wait.
///
/// After `closed` bytes a text is known to be complete. `first` is the timestamp of the first line, if it is known. `timestamp`
/// parses a line's timestamp. On a partial line it returns the whole line's value, or `None`.
pub fn next_text(
    bytes: &[u8],
    ends: Ends,
    closed: usize,
    first: Option<Timestamp>,
    mut timestamp: impl FnMut(&[u8]) -> Option<Timestamp>,
) -> Result<Text<'_>, Waiting> {
    let Some(line) = next_line(bytes, ends.limit, ends.at_end) else { return Err(Waiting::default()) };
    let first = first.or_else(|| timestamp(line.text));
    let (place, report) = formats::place(ends.report, line.text, first);
    let mut text = Text {
        raw: line.text,
        consumed: line.consumed,
        cut: line.cut,
        timestamp: first,
        is_report: place != Place::Outside,
        report: report.filter(|_| ends.multiline),
        next: None,
    };
    if !ends.multiline || !ends.joins && first.is_none() && !text.is_report {
        return Ok(text);
    }
    let is_distinct = first.map(|first| first.format).or(ends.format).is_some_and(Format::is_distinct);
    let mut run = Run::default();
    while text.consumed != closed {
        let rest = bytes.get(text.consumed..).unwrap_or_default();
        if rest.first() == Some(&0) {
            return Ok(text);
        }
        let line = next_line(rest, ends.limit, ends.at_end);
        // A partial line with a timestamp starts a text, too.
        let beginning = line.map_or(rest, |line| line.text);
        let next = timestamp(beginning);
        let (place, report) = formats::place(text.report, beginning, next);
        let starts = match (place, next) {
            (Place::Start, _) => true,
            (Place::Outside, Some(next)) => next.format.is_distinct() || !is_distinct,
            (Place::Inside, _) | (Place::Outside, None) => false,
        };
        if starts {
            text.next = next;
            return Ok(text);
        }
        let Some(line) = line else {
            // Its last byte may be part of the line ending.
            let too_long = text.consumed + rest.len() > ends.limit + 1;
            let waiting = Waiting { bytes: text.consumed, in_report: text.report.is_some() };
            return if ends.at_end || too_long { Ok(text) } else { Err(waiting) };
        };
        if text.consumed + line.text.len() > ends.limit {
            return Ok(text);
        }
        if let Some(end) = run.add(&text, next.filter(|_| place == Place::Outside)) {
            return Ok(Text { raw: bytes.get(..end.raw).unwrap_or_default(), consumed: end.consumed, ..text });
        }
        if place == Place::Inside && text.is_report && text.timestamp.is_none() {
            text.timestamp = next;
        }
        text.report = report;
        text.raw = bytes.get(..text.consumed + line.text.len()).unwrap_or_default();
        text.consumed += line.consumed;
    }
    Ok(text)
}

/// Lines in a row that may be part of the text, or entries of their own.
#[derive(Debug, Default)]
struct Run {
    lines: usize,
    start: End,
}

/// Where a text ends.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Without its line ending.
    raw: usize,
    consumed: usize,
}

impl Run {
    /// Adds the line after `text`. If the lines are entries of their own, returns the end of the text before them.
    fn add(&mut self, text: &Text<'_>, timestamp: Option<Timestamp>) -> Option<End> {
        if timestamp.is_none() {
            self.lines = 0;
            return None;
        }
        if self.lines == 0 {
            self.start = End { raw: text.raw.len(), consumed: text.consumed };
        }
        self.lines += 1;
        (self.lines == RUN).then_some(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with a timestamp starts with `1` to `9` and another byte. A line with `{` may be part of another entry.
    fn timestamp(line: &[u8]) -> Option<Timestamp> {
        match line {
            [first @ b'1'..=b'9', _, ..] => Some(Timestamp::exact(i64::from(*first))),
            [b'{', ..] => Some(Timestamp::indistinct(0)),
            _ => None,
        }
    }

    const ENDS: Ends = Ends { limit: 20, joins: true, multiline: true, at_end: false, format: None, report: None };

    /// The texts, and the waiting lines. `restarts` forgets between two texts everything that is not in the position record.
    fn taken(bytes: &[u8], mut ends: Ends, closed: usize, restarts: bool) -> (Vec<Text<'_>>, Waiting) {
        let (mut texts, mut used, mut first) = (Vec::new(), 0, None);
        loop {
            match next_text(&bytes[used..], ends, closed.wrapping_sub(used), first, timestamp) {
                Ok(text) => {
                    used += text.consumed;
                    first = text.next.filter(|_| !restarts);
                    ends.report = text.report;
                    ends.format = text.timestamp.map(|timestamp| timestamp.format).or(ends.format);
                    texts.push(text);
                }
                Err(waiting) => return (texts, waiting),
            }
        }
    }

    fn texts(bytes: &[u8], ends: Ends, closed: usize) -> (Vec<&str>, usize) {
        let (texts, waiting) = taken(bytes, ends, closed, false);
        (texts.iter().map(|text| str::from_utf8(text.raw).unwrap()).collect(), waiting.bytes)
    }

    #[test]
    fn joins_a_line_without_a_timestamp_to_the_line_before_it() {
        assert_eq!(texts(b"1a\n b\n\n c\n2d\n3e", ENDS, 0), (vec!["1a\n b\n\n c", "2d"], 0));
    }

    fn said(bytes: &[u8]) -> String {
        let text = next_text(bytes, Ends { at_end: true, limit: 99, ..ENDS }, 0, None, timestamp).unwrap();
        String::from_utf8(text.said(&mut b"left over".to_vec(), false).to_vec()).unwrap()
    }

    #[test]
    fn leaves_out_the_carriage_return_of_every_line_and_empty_lines_at_the_end() {
        assert_eq!(said(b"1a\r\n b\r\r\n\r c\r\n"), "1a\n b\r\n\r c");
        assert_eq!(said(b"1a\n b\n\r\n\n"), "1a\n b");
        assert_eq!(said(b"\n"), "");
    }

    #[test]
    fn leaves_out_escape_sequences() {
        assert_eq!(said(b"1a\x1b[32m\x1b[0m\r\n \x1b]8;;x\x07b"), "1a\n b");
        // An incomplete sequence stays as it is.
        assert_eq!(said(b"1a\x1b[3"), "1a\x1b[3");
    }

    #[test]
    fn writes_only_texts_that_differ_from_the_file() {
        let text = next_text(b"1a\n b\n", Ends { at_end: true, ..ENDS }, 0, None, timestamp).unwrap();
        let mut scratch = Vec::new();
        assert_eq!(text.said(&mut scratch, false).as_ptr(), text.raw.as_ptr());
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn holds_a_text_until_it_is_known_to_be_complete() {
        assert_eq!(texts(b"1a\n b\n", ENDS, 0), (vec![], 6));
        assert_eq!(texts(b"1a\n b\n c", ENDS, 0), (vec![], 6));
        assert_eq!(texts(b"1a\n b\n", ENDS, 6), (vec!["1a\n b"], 0));
        assert_eq!(texts(b"1a\n b\n", Ends { at_end: true, ..ENDS }, 0), (vec!["1a\n b"], 0));
    }

    #[test]
    fn ends_a_text_where_it_was_declared_complete_even_if_it_continues() {
        assert_eq!(texts(b"1a\n b\n c\n2d", ENDS, 6), (vec!["1a\n b", " c"], 0));
    }

    #[test]
    fn joins_nothing_if_no_line_has_a_timestamp_or_if_joining_is_off() {
        let untimed = Ends { joins: false, ..ENDS };
        assert_eq!(texts(b"a\nb\n", untimed, 0), (vec!["a", "b"], 0));
        assert_eq!(texts(b"a\n1b\n c\n2d", untimed, 0), (vec!["a", "1b\n c"], 0));
        assert_eq!(texts(b"1a\n b\n2c", Ends { multiline: false, ..ENDS }, 0), (vec!["1a", " b"], 0));
    }

    #[test]
    fn ends_a_text_between_two_lines_before_it_gets_too_long() {
        let ends = Ends { limit: 7, ..ENDS };
        assert_eq!(texts(b"1a\n bcd\n e\n2f", ends, 0), (vec!["1a\n bcd", " e"], 0));
        // This does not depend on whether the excess line is complete.
        assert_eq!(texts(b"1a\n bcdef", ends, 0), (vec!["1a"], 0));
        assert_eq!(texts(b"1a\n bcde\n2f", ends, 0), (vec!["1a", " bcde"], 0));
    }

    #[test]
    fn ends_a_text_before_a_hole() {
        assert_eq!(texts(b"1a\n b\n\0\0", ENDS, 0).0[0], "1a\n b");
    }

    #[test]
    fn keeps_an_object_on_a_line_of_its_own_in_the_entry_that_prints_it() {
        assert_eq!(texts(b"1a\n{b\n c\n{d\n2e", ENDS, 0).0, ["1a\n{b\n c\n{d"]);
        assert_eq!(texts(b"{a\n{b\n c\n1d\n", ENDS, 0).0, ["{a", "{b\n c"]);
    }

    #[test]
    fn takes_three_objects_in_a_row_for_another_format() {
        assert_eq!(texts(b"1a\n b\n{c\n{d\n{e\n{f\n", ENDS, 0).0, ["1a\n b", "{c", "{d", "{e"]);
        // After a restart, the rest of the file has the new format.
        let (restarted, _) = taken(b"1a\n b\n{c\n{d\n{e\n{f\n", ENDS, 0, true);
        assert_eq!(restarted.len(), 4);
    }

    const REPORT: &[u8] =
        b"7:a\n\n\n=== REDIS BUG REPORT START: x\n7:b\n c\n7:d\n=== REDIS BUG REPORT END. y\n\n e\n7:f\n";

    #[test]
    fn makes_one_text_of_a_crash_report() {
        let ends = Ends { limit: 200, ..ENDS };
        let (texts, _) = taken(REPORT, ends, 0, false);
        let raw: Vec<_> = texts.iter().map(|text| str::from_utf8(text.raw).unwrap()).collect();
        let report = "=== REDIS BUG REPORT START: x\n7:b\n c\n7:d\n=== REDIS BUG REPORT END. y\n\n e";
        assert_eq!(raw, ["7:a\n\n", report]);
        assert_eq!((texts[1].timestamp, texts[1].level(b"")), (timestamp(b"7:b"), Some(Level::Critical)));
        assert_eq!(texts[0].level(b""), None);
        // The same if no line had a timestamp before.
        assert_eq!(taken(&REPORT[6..], Ends { joins: false, ..ends }, 0, false).0[0].raw, report.as_bytes());
    }

    #[test]
    fn makes_pieces_of_a_crash_report_that_is_too_long() {
        let (texts, _) = taken(REPORT, Ends { limit: 40, ..ENDS }, 0, true);
        let reports: Vec<_> = texts.iter().map(|text| (str::from_utf8(text.raw).unwrap(), text.is_report)).collect();
        assert_eq!(
            reports,
            [
                ("7:a\n\n", false),
                ("=== REDIS BUG REPORT START: x\n7:b\n c\n7:d", true),
                ("=== REDIS BUG REPORT END. y\n\n e", true)
            ]
        );
    }

    #[test]
    fn says_that_the_end_of_a_crash_report_is_missing() {
        let waiting = |bytes| taken(bytes, Ends { limit: 200, ..ENDS }, 0, false).1;
        let end = REPORT.len() - 4;
        assert_eq!(waiting(&REPORT[6..40]), Waiting { bytes: 34, in_report: true });
        assert_eq!(waiting(&REPORT[6..end]), Waiting { bytes: end - 6, in_report: false });
        assert_eq!(waiting(b"1a\n"), Waiting { bytes: 3, in_report: false });
    }

    const KINDS: [&str; 10] =
        ["1a", " b", "{c", "7:d", "8:e", "\0", "", "\r", "=== REDIS BUG REPORT START", "=== REDIS BUG REPORT END"];

    /// Lines of every kind, in any order.
    fn lines() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        let line = proptest::sample::select(&KINDS[..]);
        proptest::strategy::Strategy::prop_map(proptest::collection::vec(line, 0..30), |lines| {
            lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
        })
    }

    proptest::proptest! {
        /// It does not matter how many bytes are there at a time, or where a restart comes.
        #[test]
        fn texts_depend_on_the_bytes_alone(bytes in lines(), seen in 0..400_usize, limit in 30..90_usize, closed in 0..200_usize) {
            let ends = Ends { limit, ..ENDS };
            let (whole, _) = taken(&bytes, ends, 0, false);
            let seen = &bytes[..seen.min(bytes.len())];
            let (part, _) = taken(seen, ends, 0, true);
            proptest::prop_assert!(part.len() <= whole.len());
            for (part, whole) in part.iter().zip(&whole) {
                proptest::prop_assert_eq!(Text { next: None, ..*part }, Text { next: None, ..*whole });
            }
            // The same if the record declares a text complete.
            let (whole, _) = taken(&bytes, ends, closed, false);
            let (restarted, _) = taken(&bytes, ends, closed, true);
            let without_next = |text: &Text<'_>| format!("{:?}", Text { next: None, ..*text });
            proptest::prop_assert_eq!(
                whole.iter().map(without_next).collect::<Vec<_>>(),
                restarted.iter().map(without_next).collect::<Vec<_>>()
            );
        }
    }
}
