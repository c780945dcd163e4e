//! Finds where a secret may be: one pass over the bytes for a few literals, in steps that do not depend on lines.

use aho_corasick::AhoCorasick;
use aho_corasick::packed;

/// How far the search looks ahead. Bytes that are not handed out now are searched again later.
const STEP: usize = 16 << 10;

/// The literals of all rules.
#[derive(Debug)]
pub(super) enum Prefilter {
    /// Uses the vectors of the processor.
    Packed(packed::Searcher, usize),
    /// For a processor without vectors.
    Automaton(AhoCorasick, usize),
}

/// A literal that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The index of the literal.
    pub(super) literal: usize,
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Prefilter {
    pub(super) fn new(literals: &[&[u8]]) -> Option<Self> {
        let longest = literals.iter().map(|literal| literal.len()).max()?;
        let mut builder = packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder();
        if let Some(packed) = builder.extend(literals).build() {
            return Some(Self::Packed(packed, longest));
        }
        AhoCorasick::new(literals).ok().map(|automaton| Self::Automaton(automaton, longest))
    }

    /// The first literal in `bytes` from `at` on.
    pub(super) fn find(&self, bytes: &[u8], at: usize) -> Option<Hit> {
        self.find_in(bytes, at, bytes.len())
    }

    fn find_in(&self, bytes: &[u8], start: usize, end: usize) -> Option<Hit> {
        if start >= end {
            return None;
        }
        match self {
            Self::Packed(packed, _) => {
                let found = packed.find_in(bytes, aho_corasick::Span { start, end })?;
                Some(Hit { literal: found.pattern().as_usize(), at: found.start(), len: found.len() })
            }
            Self::Automaton(automaton, _) => {
                let found = automaton.find(aho_corasick::Input::new(bytes).span(start..end))?;
                Some(Hit { literal: found.pattern().as_usize(), at: found.start(), len: found.len() })
            }
        }
    }

    fn longest(&self) -> usize {
        match self {
            Self::Packed(_, longest) | Self::Automaton(_, longest) => *longest,
        }
    }
}

/// How far the bytes of one read are searched.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The next literal.
    hit: Option<usize>,
    /// There is no other literal before this position.
    searched: usize,
}

impl Scan {
    /// Whether a literal begins in `start..end` of `bytes`. Each call gets the same `bytes`, and `start` never goes back.
    pub(super) fn touches(&mut self, prefilter: &Prefilter, bytes: &[u8], start: usize, end: usize) -> bool {
        if let Some(hit) = self.hit.filter(|hit| *hit >= start) {
            return hit < end;
        }
        self.searched = self.searched.max(start);
        while self.searched < end {
            let last = bytes.len().min(self.searched + STEP + prefilter.longest());
            if let Some(hit) = prefilter.find_in(bytes, self.searched, last) {
                self.hit = Some(hit.at);
                self.searched = hit.at + 1;
                return hit.at < end;
            }
            // A literal may begin within the step and end after it.
            self.searched = if last == bytes.len() { last } else { self.searched + STEP };
        }
        false
    }
}
