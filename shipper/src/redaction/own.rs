//! The user's rules: a name and a regular expression each. Every entry is searched for them.

use regex_automata::Input;
use regex_automata::util::captures::Captures;
use runtime::patterns::{self, RuleError};

use super::rule::Rule;
use super::window::{Span, Window};

/// One of the user's rules.
#[derive(Clone, Debug)]
pub struct OwnRule(patterns::Rule);

impl OwnRule {
    /// Reads one `NAME=REGEX` rule.
    pub fn new(rule: &str) -> Result<Self, RuleError> {
        patterns::rule(rule).map(Self)
    }

    /// Reads `NAME=REGEX` rules. All faults are reported together.
    pub fn parse(rules: &[String]) -> Result<Vec<Self>, Vec<RuleError>> {
        let (mut own, mut faults) = (Vec::new(), Vec::new());
        for given in rules {
            match Self::new(given) {
                Ok(rule) => own.push(rule),
                Err(fault) => faults.push(fault),
            }
        }
        // The configuration gives one list, the pod another.
        if own.len() > 2 * patterns::MOST {
            faults.push(RuleError::TooMany);
        }
        if faults.is_empty() { Ok(own) } else { Err(faults) }
    }

    /// Its name in the metric. Rules with the same name share a counter.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Room for one match. The redactor reuses it.
    pub(super) fn captures(&self) -> Captures {
        self.0.regex.create_captures()
    }

    /// Finds the first group of each match, or the whole match if the pattern has no group.
    pub(super) fn find(&self, window: &Window<'_>, number: usize, captures: &mut Captures, spans: &mut Vec<Span>) {
        let mut at = 0;
        while at < window.len() {
            let input = Input::new(window.bytes).span(at..window.len());
            self.0.regex.search_captures(&input, captures);
            let Some(all) = captures.get_match() else { return };
            let secret = captures.get_group(1).unwrap_or_else(|| all.span());
            if secret.start < secret.end {
                let (start, end) = (secret.start, secret.end);
                spans.push(Span { start, end, rule: Rule::ALL.len() + number, quote: None, open: None });
            }
            at = all.end().max(at + 1);
        }
    }
}
