//! Passwords in URLs: `scheme://user:password@host`, also percent-encoded or with JSON's escaped slashes.

use memchr::memmem;

use super::carried::End;
use super::rule::Rule;
use super::values::{is_shown, word_end};
use super::window::{Span, Window};

/// A user name of this length without a password is a token.
const TOKEN: usize = 16;

/// How a URL is written.
struct Writing {
    sign: &'static [u8],
    colon: &'static [u8],
    slash: &'static [u8],
    at: &'static [u8],
}

const WRITINGS: [Writing; 4] = [
    Writing { sign: b"://", colon: b":", slash: b"/", at: b"@" },
    Writing { sign: b":\\/\\/", colon: b":", slash: b"\\/", at: b"@" },
    Writing { sign: b"%3A%2F%2F", colon: b"%3A", slash: b"%2F", at: b"%40" },
    Writing { sign: b"%3a%2f%2f", colon: b"%3a", slash: b"%2f", at: b"%40" },
];

/// Finds the password of the URL whose `://` is at `at`.
pub(super) fn find(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let Some(writing) = WRITINGS.iter().find(|writing| window.has(at, writing.sign)) else { return };
    if !window.before(at).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return;
    }
    let start = at + writing.sign.len();
    let end = url_end(window, start);
    let url = window.part(start, end);
    let path = path_of(url, writing);
    let authority = url.get(..path).unwrap_or(url);
    let hidden = window.cut && end == window.len();
    let colon = memmem::find(authority, writing.colon);
    // If the password has a raw slash, the apparent port is part of the password.
    let port = colon.and_then(|colon| authority.get(colon + writing.colon.len()..));
    let is_port = port.is_none_or(|port| port.iter().all(u8::is_ascii_digit));
    let within = if is_port { authority } else { url };
    // The next piece may show whether there is a password, and where it ends.
    if hidden && (path == url.len() || !is_port) {
        let from = colon.map_or(start, |colon| start + colon + writing.colon.len());
        spans.extend((from < end).then(|| window.span(from, end, rule, End::Authority)));
        return;
    }
    let Some(last) = memmem::rfind(within, writing.at) else { return };
    let (from, to) = match colon.filter(|colon| *colon < last) {
        Some(colon) => (start + colon + writing.colon.len(), start + last),
        None if last >= TOKEN => (start, start + last),
        None => return,
    };
    if from < to && !is_shown(window.part(from, to)) {
        spans.push(Span { open: None, ..window.span(from, to, rule, End::Authority) });
    }
}

/// The start of the path, the query or the fragment.
fn path_of(url: &[u8], writing: &Writing) -> usize {
    let other = memchr::memchr2(b'?', b'#', url).unwrap_or(url.len());
    memmem::find(url, writing.slash).map_or(other, |slash| slash.min(other))
}

/// The end of the URL. It ends like a bare word, but may contain a field.
fn url_end(window: &Window<'_>, start: usize) -> usize {
    let blank = window.run(start, |byte| byte > b' ' && !matches!(byte, b'<' | b'>' | b'"'));
    // A quote or bracket closes the text around the URL.
    let word = word_end(window, start).min(blank);
    let at = |end: usize| memchr::memrchr(b'@', window.part(start, end)).is_some();
    // The apparent next field is the rest of a password.
    if at(word) || !at(blank) || memmem::find(window.part(word, blank), b"://").is_some() { word } else { blank }
}

/// The end of a password that was cut within its URL.
pub(super) fn go_on(window: &Window<'_>, at: usize) -> usize {
    let end = url_end(window, at);
    let url = window.part(at, end);
    if window.cut && end == window.len() && memchr::memchr3(b'/', b'?', b'#', url).is_none() {
        return end;
    }
    let last = memchr::memrchr(b'@', url).or_else(|| memmem::rfind(url, b"%40"));
    last.map_or(at, |last| at + last)
}
