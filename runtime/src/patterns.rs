//! Redaction rules of a user: the webhook checks them and passes them to the shipper, which applies them.

use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::syntax;

/// The most rules in one list. Their names are labels of a metric, and every entry is searched for every rule.
pub const MOST: usize = 16;
/// The longest name.
const NAME: usize = 32;
/// The longest pattern.
const PATTERN: usize = 1024;
/// The largest compiled pattern.
const COMPILED: usize = 256 << 10;
/// The most memory that a search keeps.
const CACHE: usize = 256 << 10;

/// Why a rule is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// It has no name or no pattern.
    #[error(
        "invalid rule {0:?}: expected NAME=REGEX with a name of at most {NAME} lowercase letters, digits and _, such as card=[0-9]{{16}}"
    )]
    Form(String),
    /// The pattern is not a regular expression, or it is too large.
    #[error("invalid pattern of rule {name:?}: {fault}")]
    Pattern {
        /// The rule.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// The list is too long.
    #[error("too many rules: expected at most {MOST}")]
    TooMany,
}

/// A valid rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name. The metric's label.
    pub name: String,
    /// The pattern. It matches bytes; classes such as `\d` are ASCII.
    pub regex: Regex,
}

/// Parses `NAME=REGEX`.
pub fn rule(text: &str) -> Result<Rule, RuleError> {
    let form = || RuleError::Form(text.chars().take(NAME).collect());
    let (name, pattern) = text.trim().split_once('=').ok_or_else(form)?;
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > NAME || !name.bytes().all(is_valid) || pattern.is_empty() {
        return Err(form());
    }
    Ok(Rule { name: name.to_owned(), regex: compile(name, pattern)? })
}

/// Compiles the pattern of the rule `name`, within limits of length and memory.
pub(crate) fn compile(name: &str, pattern: &str) -> Result<Regex, RuleError> {
    let failed = |fault: String| RuleError::Pattern { name: name.to_owned(), fault };
    if pattern.len() > PATTERN {
        return Err(failed(format!("it is longer than {PATTERN} bytes")));
    }
    // Rules are passed on one a line.
    if pattern.contains(['\n', '\r']) {
        return Err(failed("it has more than one line: write \\n for a line end".to_owned()));
    }
    let regex = Regex::builder()
        .configure(
            Regex::config()
                .utf8_empty(false)
                .nfa_size_limit(Some(COMPILED))
                .onepass_size_limit(Some(CACHE))
                .hybrid_cache_capacity(CACHE),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build(pattern)
        .map_err(|error| failed(fault(&error)))?;
    if regex.is_match("") {
        return Err(failed("it matches the empty string: expected a pattern that needs at least one byte".to_owned()));
    }
    Ok(regex)
}

/// What is wrong with a pattern, on one line.
fn fault(error: &BuildError) -> String {
    let Some(syntax) = error.syntax_error() else {
        return "it takes too much memory: expected a smaller pattern".to_owned();
    };
    // The lines before the last one show where the fault is.
    let text = syntax.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    format!("expected a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_name_and_a_regular_expression() {
        let rule = rule(" card=[0-9]{4}=x ").unwrap();
        assert_eq!(rule.name, "card");
        assert!(rule.regex.is_match("1234=x") && !rule.regex.is_match("123=x"));
    }

    #[test]
    fn says_what_is_wrong_with_a_rule() {
        let long = format!("a={}", "x".repeat(PATTERN + 1));
        for (given, expected) in [
            ("no sign", "expected NAME=REGEX"),
            ("Upper=x", "expected NAME=REGEX"),
            ("a=", "expected NAME=REGEX"),
            ("a=(", "invalid pattern of rule \"a\": expected a regular expression: unclosed group"),
            ("a=x*", "it matches the empty string"),
            ("a=(?:[0-9]{500}){500}", "expected a smaller pattern"),
            ("a=x\ny", "it has more than one line"),
            (&long, "it is longer than 1024 bytes"),
        ] {
            let error = rule(given).unwrap_err().to_string();
            assert!(error.contains(expected) && error.len() < 300, "{error}");
        }
    }
}
