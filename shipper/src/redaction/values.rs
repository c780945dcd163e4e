//! Finds where a value begins and ends: in quotes, in a list, or bare.

use super::carried::{End, Form, Quote};
use super::rule::Rule;
use super::window::{Span, Window};

/// The longest list.
const LIST: usize = 16 << 10;

/// A quote in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuoteAt {
    pub(super) quote: Quote,
    /// Its length in bytes, including backslashes.
    pub(super) len: usize,
}

/// The other ways to write a quote.
const ENCODED: [(&[u8], u8, Form); 7] = [
    (b"%22", b'"', Form::Percent),
    (b"%27", b'\'', Form::Percent),
    (b"&quot;", b'"', Form::Entity),
    (b"&#34;", b'"', Form::Entity),
    (b"&#39;", b'\'', Form::Entity),
    (b"u0022", b'"', Form::Unicode),
    (b"u0027", b'\'', Form::Unicode),
];

/// The quote at `at`, if there is one.
pub(super) fn quote_at(window: &Window<'_>, at: usize) -> Option<QuoteAt> {
    let end = window.run(at, |byte| byte == b'\\');
    let escapes = u8::try_from(end - at).ok()?;
    if let Some(mark @ (b'"' | b'\'' | b'`')) = window.byte(end) {
        return Some(QuoteAt { quote: Quote { mark, escapes, form: Form::Plain }, len: end + 1 - at });
    }
    let is_one =
        |(literal, _, form): &&(&[u8], u8, Form)| window.has(end, literal) && (*form == Form::Unicode) == (escapes > 0);
    let (literal, mark, form) = ENCODED.iter().find(is_one)?;
    Some(QuoteAt { quote: Quote { mark: *mark, escapes, form: *form }, len: end + literal.len() - at })
}

/// The position of the quote that closes `quote`, from `at` on, within the line.
///
/// A quote inside the value has more backslashes than `quote`. A quote that closes an outer string has fewer.
pub(super) fn closing(window: &Window<'_>, at: usize, quote: Quote) -> Option<usize> {
    let end = window.line_end(at);
    if quote.form != Form::Plain {
        return (at..end).find(|at| {
            quote_at(window, *at).is_some_and(|found| found.quote == quote)
                || matches!(window.byte(*at), Some(b'"' | b'\n')) && quote.form == Form::Percent
        });
    }
    let mut from = at;
    while let Some(found) = memchr::memchr(quote.mark, window.part(from, end)) {
        let mark = from + found;
        let start = window.run_back(mark, usize::MAX, |byte| byte == b'\\');
        let (escapes, own) = (mark - start, usize::from(quote.escapes));
        if escapes < own || escapes % (2 * (own + 1)) == own {
            return Some(mark - escapes.min(own));
        }
        from = mark + 1;
    }
    None
}

/// The value that begins at `at`, quoted, in a list or bare. `None` if it is empty or no secret.
pub(super) fn value(window: &Window<'_>, at: usize, rule: Rule, key: Option<Quote>) -> Option<Span> {
    match opening(window, at) {
        Some((begin, quote)) => quoted(window, begin, quote, rule),
        None => unquoted(window, at, rule, key),
    }
}

/// The quote that opens a string at `at`, and where its content begins. Skips Python's prefixes.
pub(super) fn opening(window: &Window<'_>, at: usize) -> Option<(usize, Quote)> {
    let start = window.run(at, |byte| matches!(byte, b'u' | b'b' | b'r' | b'f')).min(at + 2);
    [at, start].into_iter().find_map(|at| quote_at(window, at).map(|open| (at + open.len, open.quote)))
}

/// The value in the quotes that end before `at`.
pub(super) fn quoted(window: &Window<'_>, at: usize, quote: Quote, rule: Rule) -> Option<Span> {
    let end = closing(window, at, quote).unwrap_or_else(|| window.line_end(at));
    let span = window.span(at, end, rule, End::Quote(quote));
    (!is_shown(window.part(at, end))).then_some(span)
}

/// A list, or a bare value.
fn unquoted(window: &Window<'_>, at: usize, rule: Rule, key: Option<Quote>) -> Option<Span> {
    let quote = key.filter(|key| key.form == Form::Plain && key.escapes == 0).map(|key| key.mark);
    match window.byte(at)? {
        b'{' => None,
        b'[' => {
            let start = at + 1;
            let end = list_end(window, start);
            let inner = window.part(start, end);
            let span = Span { quote, ..window.span(start, end, rule, End::List) };
            (!inner.trim_ascii().is_empty() && !is_mark(window.rest(at)) && !is_shown(inner)).then_some(span)
        }
        _ => bare(window, at, rule).map(|span| Span { quote, ..span }),
    }
}

/// The end of the list whose `[` is before `at`.
pub(super) fn list_end(window: &Window<'_>, at: usize) -> usize {
    let most = window.len().min(at + LIST);
    let mut from = at;
    while from < most {
        match window.byte(from) {
            Some(b']') => return from,
            Some(b'"' | b'\'' | b'\\') => {
                let Some(open) = quote_at(window, from) else {
                    from += 1;
                    continue;
                };
                let start = from + open.len;
                from = closing(window, start, open.quote).map_or(start, |close| close + open.len);
            }
            _ => from += 1,
        }
    }
    if window.cut && most == window.len() { most } else { window.line_end(at) }
}

/// The bare value at `at`.
pub(super) fn bare(window: &Window<'_>, at: usize, rule: Rule) -> Option<Span> {
    let end = word_end(window, at);
    let span = window.span(at, end, rule, End::Word);
    (end > at && !is_shown(window.part(at, end))).then_some(span)
}

/// The end of a bare value: before a space, the next field, or a closing quote or bracket of the surrounding text.
pub(super) fn word_end(window: &Window<'_>, at: usize) -> usize {
    let blank = window.run(at, |byte| byte > b' ');
    if is_mark(window.rest(at)) {
        return memchr::memchr(b']', window.part(at, blank)).map_or(blank, |close| at + close + 1);
    }
    let mut from = at;
    while from < blank {
        let ends = match window.byte(from) {
            Some(b',' | b';' | b'&' | b'|') => {
                from + 1 == blank && !(window.cut && blank == window.len()) || is_field(window, from + 1)
            }
            Some(b'"' | b'\'' | b'`' | b'\\' | b'%') => {
                quote_at(window, from).is_some_and(|quote| encloses(window, from + quote.len, blank))
            }
            Some(b')' | b']' | b'}') => encloses(window, from + 1, blank),
            _ => false,
        };
        if ends {
            return from;
        }
        from += 1;
    }
    blank
}

/// Whether only closing brackets, quotes and punctuation follow `at` up to the next space.
fn encloses(window: &Window<'_>, at: usize, blank: usize) -> bool {
    if window.cut && blank == window.len() {
        return false;
    }
    let rest = window.part(at, blank);
    rest.iter().all(|byte| matches!(byte, b')' | b']' | b'}' | b'"' | b'\'' | b'`' | b'\\' | b',' | b';' | b'.' | b':'))
        || matches!(rest, [b',' | b'}' | b']' | b')', b'"' | b'\'' | b'{' | b'[' | b'\\' | b',', ..])
}

/// Whether a field begins here: a name and `=` or `:`.
fn is_field(window: &Window<'_>, at: usize) -> bool {
    let at = quote_at(window, at).map_or(at, |quote| at + quote.len);
    let end = window.run(at, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let after = quote_at(window, end).map_or(end, |quote| end + quote.len);
    end > at && end - at <= 64 && matches!(window.byte(after), Some(b'=' | b':'))
}

/// Whether a value reveals nothing: it is empty, a constant, stars, or our own mark.
pub(super) fn is_shown(value: &[u8]) -> bool {
    const CONSTANTS: [&[u8]; 6] = [b"null", b"none", b"nil", b"true", b"false", b"<nil>"];
    value.is_empty()
        || value.iter().all(|byte| *byte == b'*')
        || CONSTANTS.iter().any(|constant| value.eq_ignore_ascii_case(constant))
        || is_mark(value) && value.ends_with(b"]") && value.len() <= super::mark::LONGEST
}

/// Whether it begins like our own mark.
pub(super) fn is_mark(value: &[u8]) -> bool {
    value.starts_with(super::mark::START)
}
