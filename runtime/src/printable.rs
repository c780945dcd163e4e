//! Untrusted strings, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with escapes for characters that move a terminal's cursor, break a line, or change the text direction. A file
/// name may contain any of them.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unprintable(character) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_unprintable(character: char) -> bool {
    let changes_direction =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || changes_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_only_characters_that_affect_a_terminal() {
        assert_eq!(printable("\u{1b}[31mred\r\n.log"), "\\u{1b}[31mred\\r\\n.log");
        assert_eq!(printable("a\u{202e}gol.b\u{9b}"), "a\\u{202e}gol.b\\u{9b}");
        for plain in ["dmcproxy.log", "ação \"1\" \\ 日本.log"] {
            assert!(matches!(printable(plain), Cow::Borrowed(shown) if shown == plain));
        }
    }
}
