//! Escape sequences, which color text on a terminal. In a log they make reading and searching harder.

/// The first byte of a sequence.
pub(crate) const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The length of the sequence at the start of `text`. `None` if it is incomplete.
pub(crate) fn sequence(text: &[u8]) -> Option<usize> {
    let end = |skip: usize, is_end: fn(&u8) -> bool| Some(skip + text.get(skip..)?.iter().position(is_end)? + 1);
    match text.get(1)? {
        // Control sequences end with a letter or a similar sign. A control character interrupts them.
        b'[' => {
            let end = end(2, |byte| !(0x20..=0x3f).contains(byte))?;
            let is_whole = text.get(end - 1).is_some_and(|last| (0x40..=0x7e).contains(last));
            Some(if is_whole { end } else { end - 1 })
        }
        // Commands to the terminal, such as links, end with a bell or with `ESC \`.
        b']' => {
            let end = end(2, |byte| *byte == BELL || *byte == ESCAPE || *byte == b'\n')?;
            match *text.get(end - 1)? {
                ESCAPE if text.get(end)? == &b'\\' => Some(end + 1),
                BELL => Some(end),
                _ => Some(end - 1),
            }
        }
        0x20..=0x2f => end(1, |byte| !(0x20..=0x2f).contains(byte)),
        0x30..=0x7e => Some(2),
        _ => Some(1),
    }
}

/// Writes the beginning of a line without sequences to `place`, to find its timestamp. Ends before an incomplete sequence, or
/// when `place` is full.
pub(super) fn strip_into<'a>(mut line: &[u8], place: &'a mut [u8]) -> &'a [u8] {
    let mut filled = 0;
    while let (Some(first), Some(room)) = (line.first(), place.get_mut(filled)) {
        let taken = if *first == ESCAPE {
            let Some(len) = sequence(line) else { break };
            len
        } else {
            *room = *first;
            filled += 1;
            1
        };
        line = line.get(taken..).unwrap_or_default();
    }
    place.get(..filled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(line: &str) -> String {
        String::from_utf8_lossy(strip_into(line.as_bytes(), &mut [0; 64])).into_owned()
    }

    #[test]
    fn knows_where_a_sequence_ends() {
        assert_eq!(stripped("\x1b[2m2026\x1b[0m \x1b[38;5;12mINFO\x1b[0m x"), "2026 INFO x");
        assert_eq!(stripped("a\x1b]8;;http://x\x1b\\b\x1b]0;title\x07c\x1b(Bd\x1b\x01e"), "abcd\u{1}e");
    }

    #[test]
    fn leaves_out_what_may_go_on() {
        assert_eq!(stripped("a\x1b[3"), "a");
        assert_eq!(stripped("a\x1b"), "a");
    }

    #[test]
    fn fills_no_more_than_its_place() {
        assert_eq!(strip_into(b"\x1b[1mabcdef", &mut [0; 4]), b"abcd");
    }
}
