//! Secrets known by their shape or by their header: JWTs, bearer tokens, `Authorization`.

use super::carried::{End, Quote};
use super::rule::Rule;
use super::values::{self, closing, opening, quote_at};
use super::window::{Span, Window};
use super::words;

/// A shorter run of base64 is no token.
const RUN: usize = 16;
/// A shorter word after `Bearer` is no token.
const BEARER: usize = 6;

/// The run of base64 that begins at `at` with an opening brace, or with the dashes of a PEM block.
pub(super) fn encoded(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let begins = !window.before(at).is_some_and(|byte| byte.is_ascii_alphanumeric());
    let end = window.run(at, is_encoded);
    let long = end - at >= RUN || window.cut && end == window.len();
    if begins && long {
        spans.push(window.span(at, end, rule, End::Base64));
    }
}

/// The token after the `Bearer ` at `at`.
pub(super) fn bearer(window: &Window<'_>, at: usize, len: usize, rule: Rule, spans: &mut Vec<Span>) {
    let at = window.blanks(at + len);
    let end = window.run(at, is_encoded);
    let long = end - at >= BEARER || window.cut && end == window.len();
    let is_challenge = window.has(at, b"realm=");
    if long && !is_challenge && !words::is_prose(window, at) && !values::is_shown(window.part(at, end)) {
        spans.push(window.span(at, end, rule, End::Base64));
    }
}

/// Whether this byte can be part of a token.
pub(super) fn is_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'~')
}

/// Finds the value of the header whose name goes on with `rest` at `at`: in quotes, or to the end of the line. Keeps the scheme,
/// unless `whole` says that there is none.
pub(super) fn header(window: &Window<'_>, at: usize, rest: &[u8], rule: Rule, whole: bool, spans: &mut Vec<Span>) {
    let name = at + rest.len();
    if !window.part(at, name).eq_ignore_ascii_case(rest) {
        return;
    }
    let quote = quote_at(window, name);
    let after = window.blanks(quote.map_or(name, |quote| name + quote.len));
    let Some(sign) = window.byte(after).filter(|byte| matches!(byte, b':' | b'=' | b',')) else { return };
    let mut start = window.blanks(after + 1);
    if sign == b',' && quote.is_none() {
        return;
    }
    start += usize::from(window.byte(start) == Some(b'['));
    let inner = opening(window, start);
    let word = window.run_back(at, usize::from(u8::MAX), |byte| byte.is_ascii_alphabetic() || byte == b'-');
    let (begin, quote) = inner.map_or_else(|| (start, enclosing(window, word)), |(begin, quote)| (begin, Some(quote)));
    let (end, how) = match quote {
        Some(quote) => (closing(window, begin, quote).unwrap_or_else(|| window.line_end(begin)), End::Quote(quote)),
        None => (line_value_end(window, begin), End::Line),
    };
    let scheme = window.run(begin, |byte| byte.is_ascii_alphanumeric() || byte == b'-').min(end);
    let has_scheme = window.byte(scheme) == Some(b' ') && scheme > begin && scheme < end && !whole;
    let secret = if has_scheme { window.blanks(scheme) } else { begin };
    let end = if whole || inner.is_some() { end } else { credential_end(window, secret, end) };
    if secret < end && !values::is_shown(window.part(secret, end)) {
        spans.push(window.span(secret, end, rule, how));
    }
}

/// The quote that is open at `at`.
fn enclosing(window: &Window<'_>, at: usize) -> Option<Quote> {
    let line = window.line_before(at);
    let begin = at - line.len();
    let is_open = |mark: u8| memchr::memchr_iter(mark, line).count() % 2 == 1;
    let last = memchr::memrchr(b'"', line).filter(|_| is_open(b'"'));
    let last = last.or_else(|| memchr::memrchr(b'\'', line).filter(|mark| mark + 1 == line.len()))?;
    let first = window.run_back(begin + last, usize::from(u8::MAX), |byte| byte == b'\\');
    quote_at(window, first).map(|quote| quote.quote)
}

/// The end of a line, as a line ending or escaped.
pub(super) fn line_value_end(window: &Window<'_>, at: usize) -> usize {
    let line = window.line_end(at);
    let text = window.part(at, line);
    let ends: [&[u8]; 3] = [b"\\r", b"\\n", b"\r"];
    let end = ends.iter().filter_map(|end| memchr::memmem::find(text, end)).min();
    end.map_or(line, |end| at + end)
}

/// The end of the credentials: a list of `name=value` reaches to the end of the header, anything else is one word.
fn credential_end(window: &Window<'_>, at: usize, end: usize) -> usize {
    let word = window.run(at, |byte| byte > b' ').min(end);
    let is_list = window.part(at, word).ends_with(b",")
        || window.part(at, end).contains(&b'=') && word < end && {
            let name = window.run(at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            window.byte(name) == Some(b'=')
        };
    if is_list { end } else { word }
}
