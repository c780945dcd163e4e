//! Values with a key that makes them secret: `key=value`, `"key": "value"`, `--key value`, `key value`.

use super::rule::Rule;
use super::values::{self, QuoteAt, quote_at};
use super::window::{Span, Window};
use super::words;

/// The longest key that is read to the left of its last word.
const KEY: usize = 48;

/// A word that makes the value secret if the key ends with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) word: &'static [u8],
    /// Whether it may be the end of a longer word.
    pub(super) inside: bool,
    /// What may separate it from its value.
    pub(super) between: Between,
}

/// What may separate a key from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// `=`, `:` and the like, or the space after a flag.
    Sign,
    /// Also a space, unless a word of a sentence follows.
    Blank,
    /// A sign, and a value at least as long as such a secret.
    Long,
}

/// Words that end a key. Only a sign may follow.
pub(super) const fn sign(word: &'static [u8]) -> Key {
    Key { word, inside: true, between: Between::Sign }
}

/// The shortest value after [`Between::Long`].
const LONG: usize = 24;

/// The separator between a key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Sign,
    /// XML: the next tag ends the value.
    Tag,
    Comma,
    Blank,
}

/// Finds the value of the key around `at`.
pub(super) fn find(window: &Window<'_>, at: usize, rule: Rule, keys: &[Key], spans: &mut Vec<Span>) {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let start = window.run_back(at, KEY, is_name);
    let end = window.run(at, |byte| is_name(byte) && byte != b'.');
    let Some(key) = key_of(window.part(start, end), keys) else { return };
    let quote = quote_at(window, end);
    let after = quote.map_or(end, |quote| end + quote.len);
    let Some((separator, value)) = separator(window, start, after) else { return };
    // The result of a check, not a secret.
    if window.part(start, end) == b"PASS" && window.byte(end) == Some(b':') {
        return;
    }
    let found = match separator {
        Separator::Sign => values::value(window, value, rule, quote.map(|quote| quote.quote)),
        Separator::Tag => tagged(window, value, rule),
        Separator::Comma => quoted(window, value, rule),
        Separator::Blank if key.between == Between::Long => None,
        Separator::Blank => after_blank(window, start, value, rule, key, quote),
    };
    let is_long = |span: &Span| key.between != Between::Long || span.end - span.start >= LONG || span.open.is_some();
    spans.extend(found.filter(is_long));
}

/// The last word of the name, without a number at its end.
fn key_of<'k>(name: &[u8], keys: &'k [Key]) -> Option<&'k Key> {
    let end = name.iter().rposition(|byte| !matches!(byte, b'0'..=b'9' | b'_' | b'-' | b'.'))?;
    let name = name.get(..=end)?;
    if name.eq_ignore_ascii_case(b"pwd") && name != b"pwd" && name != b"Pwd" || name.ends_with(b"OLDPWD") {
        return None;
    }
    keys.iter().find(|key| {
        let Some(before) = name.len().checked_sub(key.word.len()) else { return false };
        let (head, tail) = name.split_at_checked(before).unwrap_or((name, b""));
        let apart = head.last().is_none_or(|last| !last.is_ascii_alphabetic())
            || head.last().is_some_and(u8::is_ascii_lowercase) && tail.first().is_some_and(u8::is_ascii_uppercase);
        tail.eq_ignore_ascii_case(key.word) && (key.inside || apart)
    })
}

/// The separator after a key and its quote, and where the value begins.
fn separator(window: &Window<'_>, key: usize, after: usize) -> Option<(Separator, usize)> {
    let after = after + usize::from(window.byte(after) == Some(b']') && window.before(after).is_some_and(is_quote));
    let at = window.blanks(after);
    if window.byte(at) == Some(b'>') && window.before(key) == Some(b'<') {
        return Some((Separator::Tag, at + 1));
    }
    if let Some(len) = sign_len(window, at) {
        let value = window.blanks(at + len);
        return Some((Separator::Sign, next_line(window, value)));
    }
    match window.byte(at)? {
        b',' => Some((Separator::Comma, next_line(window, window.blanks(at + 1)))),
        _ if at > after => Some((Separator::Blank, at)),
        _ => None,
    }
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// The length of the sign at `at` that introduces a value.
fn sign_len(window: &Window<'_>, at: usize) -> Option<usize> {
    const SIGNS: [&[u8]; 13] = [
        b"=>", b"==", b":=", b"=", b":", b"%3D", b"%3d", b"%3A", b"%3a", b"\\u003d", b"\\u003D", b"\\u003a", b"\\u003A",
    ];
    if window.has(at, b"::") {
        return None;
    }
    SIGNS.iter().find(|sign| window.has(at, sign)).map(|sign| sign.len())
}

/// The value may be on the next line, indented.
fn next_line(window: &Window<'_>, at: usize) -> usize {
    let block = window.run(at, |byte| matches!(byte, b'|' | b'>' | b'-' | b'+')).min(at + 2);
    if window.byte(block) != Some(b'\n') {
        return at;
    }
    let start = block + 1;
    let indented = window.run(start, |byte| byte == b' ');
    if indented > start { indented } else { at }
}

/// The text of an XML element.
fn tagged(window: &Window<'_>, at: usize, rule: Rule) -> Option<Span> {
    let end = memchr::memchr(b'<', window.part(at, window.line_end(at))).map(|end| at + end)?;
    (!values::is_shown(window.part(at, end))).then(|| window.span(at, end, rule, super::carried::End::Word))
}

/// A value in quotes.
fn quoted(window: &Window<'_>, at: usize, rule: Rule) -> Option<Span> {
    let (begin, quote) = values::opening(window, at)?;
    values::quoted(window, begin, quote, rule)
}

/// The value after a space: of a flag, in a command line, or in a sentence.
fn after_blank(
    window: &Window<'_>,
    start: usize,
    at: usize,
    rule: Rule,
    key: &Key,
    quote: Option<QuoteAt>,
) -> Option<Span> {
    let flag = window.byte(start) == Some(b'-');
    let in_quotes = quote.map(|quote| quote.quote);
    if quote_at(window, at).is_some_and(|open| in_quotes.is_none_or(|quote| quote == open.quote)) {
        // `secret "name" not found` names a secret. `password "x"` contains one.
        return if flag || in_quotes.is_some() || key.between == Between::Blank {
            quoted(window, at, rule)
        } else {
            None
        };
    }
    // Part of a longer word, such as `username-password pair`, or a quoted word of a sentence.
    let joined = !flag && window.part(start, at).contains(&b'-');
    if in_quotes.is_some() || joined || !flag && key.between != Between::Blank {
        return None;
    }
    if !flag && !words::is_command(window, start) && words::is_prose(window, at) {
        return None;
    }
    // The next flag follows: this flag has no value.
    if window.has(at, b"--") {
        return None;
    }
    values::bare(window, at, rule)
}
