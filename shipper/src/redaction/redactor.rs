//! Finds the secrets in one text after the other, and replaces them.

use prometheus_client::metrics::counter::Counter;
use regex_automata::util::captures::Captures;

use super::carried::{Carried, End, Open};
use super::own::OwnRule;
use super::rule::Rule;
use super::scan::{Hit, Prefilter, Scan};
use super::table::{ROWS, Row, literals};
use super::window::{Span, Window};
use super::{Redaction, blocks, commands, mark, tokens, urls, values, words};

/// A text with more literals than this is searched only near each further literal.
const MOST_HITS: usize = 256;

/// Finds the secrets in texts and replaces them. Reuses its buffers.
#[derive(Debug)]
pub(crate) struct Redactor {
    /// `None` if redaction is off.
    prefilter: Option<Prefilter>,
    /// The rows that belong to each literal.
    rows: Vec<Vec<&'static Row>>,
    own: Vec<(OwnRule, Captures)>,
    limit: usize,
    counters: Vec<Counter>,
    spans: Vec<Span>,
    window: Vec<u8>,
    text: Vec<u8>,
}

/// A text to redact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// The text of the entry.
    pub(crate) bytes: &'a [u8],
    /// The bytes of the file before it, up to [`BEFORE`].
    pub(crate) before: &'a [u8],
    /// Whether the line limit cut it.
    pub(crate) cut: bool,
    /// Whether it may contain a literal.
    pub(crate) touched: bool,
}

impl Redactor {
    /// Keeps texts within `limit` bytes. `counter` creates the counter of a rule.
    pub(crate) fn new(redaction: &Redaction, limit: usize, counter: impl Fn(&str) -> Counter) -> Self {
        let literals = literals();
        let rows = literals.iter().map(|literal| ROWS.iter().filter(|row| row.literals.contains(literal)).collect());
        let bytes: Vec<_> = literals.iter().map(|literal| literal.as_bytes()).collect();
        let own: Vec<_> =
            redaction.own.iter().filter(|_| redaction.on).map(|rule| (rule.clone(), rule.captures())).collect();
        let names = Rule::ALL.iter().map(|rule| rule.name()).chain(own.iter().map(|(rule, _)| rule.name()));
        Self {
            prefilter: Prefilter::new(&bytes).filter(|_| redaction.on),
            rows: rows.collect(),
            limit,
            counters: names.map(counter).collect(),
            own,
            spans: Vec::new(),
            window: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether a literal of any rule begins in `start..end` of `bytes`, which `scan` searches.
    pub(crate) fn touches(&self, scan: &mut Scan, bytes: &[u8], start: usize, end: usize) -> bool {
        self.prefilter.as_ref().is_some_and(|prefilter| scan.touches(prefilter, bytes, start, end))
    }

    /// Returns the text without its secrets, and what it leaves open for the next text.
    pub(crate) fn redact<'a>(&'a mut self, text: Text<'a>, carried: Option<Carried>) -> (&'a [u8], Option<Carried>) {
        self.spans.clear();
        let Some(prefilter) = &self.prefilter else { return (text.bytes, None) };
        if !text.touched && !text.cut && carried.is_none() && self.own.is_empty() {
            return (text.bytes, None);
        }
        let carried = carried.unwrap_or_default();
        let mut window = Window { bytes: text.bytes, from: 0, cut: text.cut, command: carried.command };
        if carried.cut {
            self.window.clear();
            self.window.extend_from_slice(text.before);
            self.window.extend_from_slice(text.bytes);
            window = Window { bytes: &self.window, from: text.before.len(), ..window };
        }
        let mut block = carried.open.and_then(|open| go_on(&window, open, &mut self.spans));
        if carried.command {
            commands::go_on(&window, &mut self.spans);
        }
        let (mut at, mut hits) = (0, 0);
        while let Some(hit) = prefilter.find(window.bytes, at) {
            at = hit.at + 1;
            hits += 1;
            if hits > MOST_HITS {
                at = at.max(find_near(self.rows.get(hit.literal).into_iter().flatten(), &window, hit, &mut self.spans));
                continue;
            }
            for row in self.rows.get(hit.literal).into_iter().flatten() {
                block = row.find(&window, hit, &mut self.spans).or(block);
            }
        }
        for (number, (rule, captures)) in self.own.iter_mut().enumerate() {
            rule.find(&window, number, captures, &mut self.spans);
        }
        let carried = leaves(&window, &self.spans, block);
        merge(&mut self.spans, window.from);
        if self.spans.is_empty() {
            return (text.bytes, carried);
        }
        mark::write(text.bytes, &self.spans, self.limit, &mut self.text);
        (&self.text, carried)
    }

    /// Counts the secrets that were replaced in the last text.
    pub(crate) fn count(&self) {
        for span in self.spans.iter().filter(|span| span.start < span.end) {
            if let Some(counter) = self.counters.get(span.rule) {
                counter.inc();
            }
        }
    }
}

/// Finds the secrets near a literal of a text with very many literals. It reads only a bounded window, so that the cost does not
/// grow with the square of the text. A secret without an end in this window reaches to the end of the text. Returns where to go on.
fn find_near<'r>(
    rows: impl Iterator<Item = &'r &'static Row>,
    window: &Window<'_>,
    hit: Hit,
    spans: &mut Vec<Span>,
) -> usize {
    let (near, first) = (window.near(hit.at), spans.len());
    let mut is_open = false;
    for row in rows {
        is_open |= row.find(&near, hit, spans).is_some();
    }
    let found = spans.get_mut(first..).unwrap_or_default();
    is_open |= found.iter().any(|span| span.open.is_some());
    if is_open && near.len() < window.len() {
        let start = found.iter().map(|span| span.start).min().unwrap_or(hit.at);
        let rule = found.first().map_or(Rule::Pem as usize, |span| span.rule);
        let open = window.cut.then_some(End::Word);
        spans.push(Span { start, end: window.len(), rule, quote: None, open });
        return window.len();
    }
    found.iter().map(|span| span.end).max().unwrap_or_default()
}

/// Adds the rest of a secret that an earlier text left open. Returns a block that is still open.
fn go_on(window: &Window<'_>, open: Open, spans: &mut Vec<Span>) -> Option<Open> {
    let start = window.from;
    let end = match open.end {
        End::Block(misses) => {
            return blocks::go_on(window, start, open.rule, misses, spans).map(|end| Open { end, ..open });
        }
        End::Quote(quote) => values::closing(window, start, quote).unwrap_or_else(|| window.line_end(start)),
        End::Word => values::word_end(window, start),
        End::Line => tokens::line_value_end(window, start),
        End::List => values::list_end(window, start),
        End::Authority => urls::go_on(window, start),
        End::Base64 => window.run(start, tokens::is_encoded),
    };
    spans.extend((start < end).then(|| window.span(start, end, open.rule, open.end)));
    None
}

/// Returns what the window leaves open for the next text.
fn leaves(window: &Window<'_>, spans: &[Span], block: Option<Open>) -> Option<Carried> {
    if !window.cut {
        return block.map(|open| Carried { open: Some(open), ..Carried::default() });
    }
    let rule = |span: &Span| Rule::ALL.get(span.rule).copied();
    let open = spans.iter().find_map(|span| Some(Open { rule: rule(span)?, end: span.open? }));
    Some(Carried { cut: true, command: words::is_command(window, window.len()), open: block.or(open) })
}

/// Sorts the spans and joins overlapping ones. Drops spans before the text, which begins at `from`.
fn merge(spans: &mut Vec<Span>, from: usize) {
    spans.retain(|span| span.end > from && span.start < span.end);
    spans.sort_by_key(|span| (span.start, span.rule));
    spans.dedup_by(|next, before| {
        let joins = next.start < before.end;
        if joins && next.end > before.end {
            before.end = next.end;
        }
        joins
    });
    for span in spans {
        span.start = span.start.saturating_sub(from);
        span.end -= from;
    }
}
