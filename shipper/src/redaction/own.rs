//! Rules of the user's own: a name and a regular expression. They are tried on every entry.

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_automata::{Input, util::syntax};

use super::rule::Rule;
use super::window::{Span, Window};

/// How many there may be: the name is a label of a metric.
const MOST: usize = 32;
/// The longest name.
const NAME: usize = 32;
/// The longest pattern.
const PATTERN: usize = 1024;
/// How large a compiled pattern may get.
const COMPILED: usize = 1 << 20;
/// What a search may remember.
const CACHE: usize = 256 << 10;

/// A rule of the user's own.
#[derive(Clone, Debug)]
pub struct OwnRule {
    /// As the metric calls it.
    name: String,
    regex: Regex,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OwnRuleError {
    /// Not of the form.
    #[error(
        "invalid rule {0:?}: expected NAME=REGEX with a name of at most {NAME} lowercase letters, digits and _, such as card=[0-9]{{16}}"
    )]
    Form(String),
    /// The name is taken.
    #[error("invalid rule {0:?}: another rule has this name")]
    Taken(String),
    /// The pattern is no regular expression, or too large.
    #[error("invalid pattern of rule {name:?}: {fault}")]
    Pattern {
        /// The rule.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Too many rules.
    #[error("too many rules: expected at most {MOST}")]
    TooMany,
}

impl OwnRule {
    /// Reads `NAME=REGEX` rules. All faults are reported together.
    pub fn parse(rules: &[String]) -> Result<Vec<Self>, Vec<OwnRuleError>> {
        let (mut own, mut faults) = (Vec::<Self>::new(), Vec::new());
        for given in rules {
            match Self::new(given) {
                Ok(rule) if own.iter().any(|known| known.name == rule.name) => {
                    faults.push(OwnRuleError::Taken(rule.name));
                }
                Ok(rule) => own.push(rule),
                Err(fault) => faults.push(fault),
            }
        }
        if own.len() > MOST {
            faults.push(OwnRuleError::TooMany);
        }
        if faults.is_empty() { Ok(own) } else { Err(faults) }
    }

    fn new(given: &str) -> Result<Self, OwnRuleError> {
        let form = || OwnRuleError::Form(given.chars().take(NAME).collect());
        let (name, pattern) = given.split_once('=').ok_or_else(form)?;
        let name = name.trim();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > NAME || !name.bytes().all(fits) || pattern.is_empty() {
            return Err(form());
        }
        if Rule::ALL.iter().any(|rule| rule.name() == name) {
            return Err(OwnRuleError::Taken(name.to_owned()));
        }
        let failed = |fault: String| OwnRuleError::Pattern { name: name.to_owned(), fault };
        if pattern.len() > PATTERN {
            return Err(failed(format!("it is longer than {PATTERN} bytes")));
        }
        let config = Regex::config()
            .utf8_empty(false)
            .nfa_size_limit(Some(COMPILED))
            .onepass_size_limit(Some(CACHE))
            .dfa_size_limit(Some(CACHE))
            .hybrid_cache_capacity(CACHE);
        let regex = Regex::builder()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .build(pattern)
            .map_err(|error| failed(fault(&error)))?;
        if regex.is_match("") {
            return Err(failed(
                "it matches the empty string: expected a pattern that needs at least one byte".to_owned(),
            ));
        }
        Ok(Self { name: name.to_owned(), regex })
    }

    /// As the metric calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Room for one match, used again and again.
    pub(super) fn captures(&self) -> Captures {
        self.regex.create_captures()
    }

    /// What it finds: the first group of each match, or all of it where the pattern has no group.
    pub(super) fn find(&self, window: &Window<'_>, number: usize, captures: &mut Captures, spans: &mut Vec<Span>) {
        let mut at = 0;
        while at < window.len() {
            let input = Input::new(window.bytes).span(at..window.len());
            self.regex.search_captures(&input, captures);
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

/// What is wrong with a pattern, on one line.
fn fault(error: &regex_automata::meta::BuildError) -> String {
    let Some(syntax) = error.syntax_error() else { return format!("{error}: expected a smaller pattern") };
    // The last line says what, those before it show where.
    let text = syntax.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    format!("expected a regular expression, {last}")
}
