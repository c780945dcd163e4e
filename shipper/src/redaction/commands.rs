//! Secrets among the arguments of commands, of Redis and of the tools around it.

use super::carried::End;
use super::rule::Rule;
use super::values::{closing, is_shown, opening, quote_at, word_end};
use super::window::{Span, Window};
use super::words;

/// The mechanisms of SASL. They are no secrets.
const MECHANISMS: [&[u8]; 5] = [b"PLAIN", b"LOGIN", b"CRAM-MD5", b"XOAUTH2", b"EXTERNAL"];
/// At most this many rules of an access list are read.
const RULES: usize = 256;

/// One argument: its span, and where the rest of the line begins.
struct Argument {
    span: Span,
    next: usize,
    quoted: bool,
}

/// The argument at `at`, in quotes, in Redis's protocol, or bare.
fn argument(window: &Window<'_>, at: usize, rule: Rule) -> Option<Argument> {
    if let Some(start) = protocol(window, at) {
        let end = window.run(start, |byte| byte > b' ' && byte != b'\\');
        return Some(Argument { span: window.span(start, end, rule, End::Word), next: end, quoted: false });
    }
    let comma = usize::from(window.byte(window.blanks(at)) == Some(b','));
    let start = window.blanks(window.blanks(at) + comma);
    if start == at {
        return None;
    }
    if let Some((begin, quote)) = opening(window, start) {
        let end = closing(window, begin, quote).unwrap_or_else(|| window.line_end(begin));
        let span = window.span(begin, end, rule, End::Quote(quote));
        let next = quote_at(window, end).map_or(end, |close| end + close.len);
        return Some(Argument { span, next, quoted: true });
    }
    let end = word_end(window, start);
    let span = window.span(start, end, rule, End::Word);
    (comma == 0 && start < end).then_some(Argument { span, next: end, quoted: false })
}

/// The start of an argument's bytes in `\r\n$7\r\nhunter2`. The line endings may be escaped.
fn protocol(window: &Window<'_>, at: usize) -> Option<usize> {
    let line_end = |at: usize| {
        let ends: [&[u8]; 3] = [b"\\r\\n", b"\r\n", b"\n"];
        ends.iter().find(|end| window.has(at, end)).map(|end| at + end.len())
    };
    let at = line_end(at).filter(|at| window.byte(*at) == Some(b'$'))?;
    line_end(window.run(at + 1, |byte| byte.is_ascii_digit()))
}

/// Finds the password of the `AUTH` at `at`. A user name before it stays.
pub(super) fn auth(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let end = at + 4;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let escaped = window.part(at.saturating_sub(2), at) == b"\\n";
    if !escaped && window.before(at).is_some_and(is_word) || window.byte(end).is_some_and(is_word) {
        return;
    }
    let quote = quote_at(window, end);
    let after = quote.map_or(end, |quote| end + quote.len);
    let is_upper = window.has(at, b"AUTH");
    let Some(first) = argument(window, after, rule) else { return };
    let bare_prose =
        !first.quoted && (words::is_prose(window, first.span.start) || !is_upper && !words::is_command(window, at));
    if quote.is_some() && !first.quoted || bare_prose {
        return;
    }
    let second = argument(window, first.next, rule).filter(|second| second.quoted == first.quoted);
    let is_secret = |argument: &Argument| !is_shown(window.part(argument.span.start, argument.span.end));
    let is_mechanism = MECHANISMS.contains(&window.part(first.span.start, first.span.end));
    let Some(second) = second else {
        spans.extend((!is_mechanism && is_secret(&first)).then_some(first.span));
        return;
    };
    // `HELLO 3 AUTH user password SETNAME name`, or a sentence that contains a password.
    let hello = memchr::memmem::find(window.line_before(at), b"HELLO").is_some();
    let goes_on = !hello && !first.quoted && argument(window, second.next, rule).is_some();
    spans.extend((goes_on && !is_mechanism).then_some(first.span));
    spans.extend(is_secret(&second).then_some(second.span));
}

/// Finds the passwords of the access list after the `SETUSER` that ends at `at`: rules that begin with `>`, `<`, `#` or `!`.
pub(super) fn access_list(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let mut at = quote_at(window, at).map_or(at, |quote| at + quote.len);
    for _ in 0..RULES {
        let Some(argument) = argument(window, at, rule) else { break };
        let Span { start, end, .. } = argument.span;
        let is_secret = matches!(window.byte(start), Some(b'>' | b'<' | b'#' | b'!'));
        if is_secret && !is_shown(window.part(start + 1, end)) {
            spans.push(Span { start: start + 1, ..argument.span });
        }
        at = argument.next;
    }
}

/// The password whose `>` ends at `at`.
pub(super) fn access_rule(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let end = word_end(window, at);
    spans.extend((!is_shown(window.part(at, end))).then(|| window.span(at, end, rule, End::Word)));
}

/// A tool and its flags that take a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    flags: &'static [&'static [u8]],
    /// Whether a user name and a colon precede the secret.
    colon: bool,
}

pub(super) const LDAP: Tool = Tool { flags: &[b"-w"], colon: false };
pub(super) const REDIS_CLI: Tool = Tool { flags: &[b"-a"], colon: false };
pub(super) const CURL: Tool = Tool { flags: &[b"-u", b"--user"], colon: true };

/// Finds the values of flags after the tool at `at`, up to the end of the line.
pub(super) fn flags(window: &Window<'_>, at: usize, tool: &Tool, rule: Rule, spans: &mut Vec<Span>) {
    let line = window.line_end(at);
    for flag in tool.flags {
        for found in memchr::memmem::find_iter(window.part(at, line), flag) {
            let (start, end) = (at + found, at + found + flag.len());
            let quote = quote_at(window, end);
            let after = quote.map_or(end, |quote| end + quote.len);
            let apart = window.before(start).is_some_and(|byte| matches!(byte, b' ' | b'"' | b'\''));
            let Some(argument) =
                argument(window, after, rule).filter(|found| apart && (quote.is_none() || found.quoted))
            else {
                continue;
            };
            let Span { start, end, .. } = argument.span;
            let colon = memchr::memchr(b':', window.part(start, end)).filter(|_| tool.colon);
            let start = colon.map_or(start, |colon| start + colon + 1);
            spans.extend((!is_shown(window.part(start, end))).then_some(Span { start, ..argument.span }));
        }
    }
}

/// Finds the values of flags on a line that a cut separated from its tool.
pub(super) fn go_on(window: &Window<'_>, spans: &mut Vec<Span>) {
    for (tool, rule) in [(&LDAP, Rule::LdapBind), (&REDIS_CLI, Rule::CommandLine), (&CURL, Rule::CommandLine)] {
        flags(window, 0, tool, rule, spans);
    }
}

/// Finds the last argument of the call at `at`: `simple_bind_s('cn=admin', 'secret')`.
pub(super) fn call(window: &Window<'_>, at: usize, rule: Rule, spans: &mut Vec<Span>) {
    let open = window.run(at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if window.byte(open) != Some(b'(') {
        return;
    }
    let line = window.line_end(open);
    let Some(comma) = memchr::memmem::rfind(window.part(open, line), b", ").map(|comma| open + comma) else { return };
    let start = window.blanks(comma + 1);
    let end = memchr::memrchr(b')', window.part(start, line)).map_or(line, |close| start + close);
    spans.extend((!is_shown(window.part(start, end))).then(|| window.span(start, end, rule, End::Line)));
}

/// Finds an argument that a crash report quotes from the command that ran: `argv[1]: 'value'`.
pub(super) fn crash_argument(window: &Window<'_>, at: usize, len: usize, rule: Rule, spans: &mut Vec<Span>) {
    let number = at + len;
    let end = window.run(number, |byte| byte.is_ascii_digit());
    if end == number || window.part(number, end) == b"0" || !window.has(end, b"]: ") {
        return;
    }
    let start = end + b"]: ".len();
    let end = window.line_end(start);
    spans.extend((!is_shown(window.part(start, end))).then(|| window.span(start, end, rule, End::Line)));
}
