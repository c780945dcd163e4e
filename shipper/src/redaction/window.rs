//! The bytes that a rule reads: the text of an entry, and after a cut the bytes before it.

use super::carried::End;
use super::rule::Rule;

/// The bytes that the rules read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// The text, and the bytes before it.
    pub(super) bytes: &'a [u8],
    /// Where the text begins. The bytes before it are pushed already.
    pub(super) from: usize,
    /// Whether the text goes on in the next entry, because the line limit cut it.
    pub(super) cut: bool,
    /// Whether a command line began in an entry before this one.
    pub(super) command: bool,
}

/// A secret, or the part of it in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Which rule found it: the rows of the table come first, then the user's rules.
    pub(super) rule: usize,
    /// The quote to write around the mark, so that JSON stays JSON.
    pub(super) quote: Option<u8>,
    /// How it ends, if the cut hides its end.
    pub(super) open: Option<End>,
}

impl<'a> Window<'a> {
    /// The window up to `NEAR` bytes after `at`, as if the line were cut there.
    pub(super) fn near(&self, at: usize) -> Self {
        self.bytes.get(..at + NEAR).map_or(*self, |bytes| Self { bytes, cut: true, ..*self })
    }

    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn before(&self, at: usize) -> Option<u8> {
        self.byte(at.checked_sub(1)?)
    }

    pub(super) fn rest(&self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    pub(super) fn part(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    pub(super) fn has(&self, at: usize, literal: &[u8]) -> bool {
        self.rest(at).starts_with(literal)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The end of the bytes from `at` on that `belongs` accepts.
    pub(super) fn run(&self, at: usize, belongs: impl Fn(u8) -> bool) -> usize {
        at + self.rest(at).iter().take_while(|byte| belongs(**byte)).count()
    }

    /// The start of the bytes before `at` that `belongs` accepts, at most `most` of them.
    pub(super) fn run_back(&self, at: usize, most: usize, belongs: impl Fn(u8) -> bool) -> usize {
        at - self.part(0, at).iter().rev().take(most).take_while(|byte| belongs(**byte)).count()
    }

    /// The end of the spaces and tabs at `at`, at most a few of them.
    pub(super) fn blanks(&self, at: usize) -> usize {
        at + self.rest(at).iter().take(BLANKS).take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    /// The end of the line around `at`.
    pub(super) fn line_end(&self, at: usize) -> usize {
        memchr::memchr(b'\n', self.rest(at)).map_or(self.len(), |end| at + end)
    }

    /// The line up to `at`. Of a long line, only the last part.
    pub(super) fn line_before(&self, at: usize) -> &'a [u8] {
        let before = self.part(at.saturating_sub(LINE), at);
        before.get(memchr::memrchr(b'\n', before).map_or(0, |end| end + 1)..).unwrap_or_default()
    }

    /// A secret from `start` to `end`. `how` says how it ends if the window is cut before its end.
    pub(super) fn span(&self, start: usize, end: usize, rule: Rule, how: End) -> Span {
        let open = (self.cut && end == self.len()).then_some(how);
        Span { start, end, rule: rule as usize, quote: None, open }
    }
}

/// How far the rules read in a text with very many literals.
const NEAR: usize = 1024;
/// How much of a line is searched backwards for the key or command of a value.
const LINE: usize = 4096;
/// At most this many spaces and tabs separate a key and its value. With the key they fit into [`BEFORE`](super::BEFORE).
const BLANKS: usize = 8;
