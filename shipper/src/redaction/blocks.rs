//! PEM blocks and license texts: lines of base64 between two lines of dashes, in one entry or in many.

use memchr::memmem;

use super::carried::End;
use super::rule::Rule;
use super::window::{Span, Window};

/// The beginning of a block's last line.
const END: &[u8] = b"-----END";
const LICENSE_END: &[u8] = b"LICENSE END";
/// A shorter run of base64 is part of a block only if it is a whole line.
const RUN: usize = 16;
/// A block ends after this many lines in a row without base64, even if its last line never came.
const MISSES: u8 = 4;

/// Finds the block whose first line is around `at`.
pub(super) fn find(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) -> Option<End> {
    // Dashes end the first line, and the word that names the block.
    let line = segment_end(window, at);
    let first = window.part(at, line);
    let name = first.iter().take_while(|byte| **byte == b'-').count();
    let dashes = memmem::find(first.get(name..)?, b"-----")?;
    let body = window.run(at + name + dashes, |byte| byte == b'-');
    // The whole block may be on one line.
    if let Some(over) = over(window.part(body, segment_end(window, body))) {
        let end = body + over;
        spans.extend((body < end).then(|| Span { open: None, ..window.span(body, end, rule, End::Base64) }));
        return None;
    }
    go_on(window, body, rule, 0, spans)
}

/// The start of a block's last line.
fn over(segment: &[u8]) -> Option<usize> {
    [END, LICENSE_END].iter().filter_map(|end| memmem::find(segment, end)).min()
}

/// Adds the lines of a block from `at` on. Returns how it goes on if it is still open at the end of the window.
pub(super) fn go_on(window: &Window<'_>, at: usize, rule: Rule, misses: u8, spans: &mut Vec<Span>) -> Option<End> {
    let (mut from, mut misses, first) = (at, misses, spans.len());
    while from < window.len() {
        let end = segment_end(window, from);
        let segment = window.part(from, end);
        let over = over(segment);
        let runs = runs(window, from, over.map_or(end, |over| from + over), rule, first, spans);
        if over.is_some() {
            return None;
        }
        misses = if runs || segment.trim_ascii().is_empty() { 0 } else { misses.saturating_add(1) };
        if misses >= MISSES {
            return None;
        }
        from = end + separator_len(window, end);
    }
    Some(End::Block(misses))
}

/// Adds the runs of base64 in a line. Returns whether there were any.
fn runs(window: &Window<'_>, start: usize, end: usize, rule: Rule, first: usize, spans: &mut Vec<Span>) -> bool {
    let (mut at, mut found) = (start, false);
    while at < end {
        let run = window.run(at, is_base64).min(end);
        if run == at {
            at += 1;
            continue;
        }
        let edge = at == window.from && window.from > 0 || window.cut && run == window.len();
        let whole = window.part(start, at).iter().chain(window.part(run, end)).all(|byte| is_glue(*byte));
        if run - at >= RUN || edge || whole {
            found = true;
            let before = spans.get_mut(first..).and_then(<[Span]>::last_mut);
            match before.filter(|before| {
                window.part(before.end, at).iter().all(|byte| is_glue(*byte) || matches!(byte, b'n' | b'r'))
            }) {
                Some(before) => before.end = run,
                None => spans.push(Span { open: None, ..window.span(at, run, rule, End::Base64) }),
            }
        }
        at = run;
    }
    found
}

/// The end of the line around `at`, as a line ending or escaped.
fn segment_end(window: &Window<'_>, at: usize) -> usize {
    let end = window.line_end(at);
    memmem::find(window.part(at, end), b"\\n").map_or(end, |escape| at + escape)
}

fn separator_len(window: &Window<'_>, at: usize) -> usize {
    if window.has(at, b"\\n") { 2 } else { 1 }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn is_glue(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'\\' | b'"' | b'\'' | b',')
}
