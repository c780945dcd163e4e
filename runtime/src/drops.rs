//! Drop rules of a user: the webhook checks them and passes them to the shipper, which applies them.
//!
//! ```text
//! level=debug                        entries of one level, or of several: level=trace,debug
//! pattern=health check               entries in which the regular expression matches
//! envoy_access*:level=info           the same, only in files whose names match the glob
//! ```

use globset::{GlobBuilder, GlobMatcher};
use regex_automata::meta::Regex;

use crate::patterns::{self, MOST, RuleError};

/// The levels that a rule can name, as Loki writes them.
pub const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// This much of an invalid rule is repeated.
const SHOWN: usize = 64;

/// Why a rule is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DropError {
    /// It is neither a rule by level nor a rule by pattern.
    #[error(
        "invalid drop rule {0:?}: expected level=LEVEL or pattern=REGEX, after a glob and a colon if it is for some files \
         only, such as envoy_access*:level=info"
    )]
    Form(String),
    /// A level is unknown.
    #[error("invalid drop rule {rule:?}: unknown level {level:?}: expected one of {}", LEVELS.join(", "))]
    Level {
        /// The rule.
        rule: String,
        /// The unknown level.
        level: String,
    },
    /// The glob is invalid.
    #[error("invalid drop rule {rule:?}: invalid glob: {fault}")]
    Glob {
        /// The rule.
        rule: String,
        /// What is wrong with the glob.
        fault: String,
    },
    /// The pattern is not a regular expression, or it is too large.
    #[error(transparent)]
    Pattern(RuleError),
    /// The list is too long.
    #[error("too many drop rules: expected at most {MOST}")]
    TooMany,
}

/// A valid rule.
#[derive(Clone, Debug)]
pub struct DropRule {
    /// The rule as it was written. The metric's label.
    pub text: String,
    /// The files that it is for. All files if `None`.
    files: Option<GlobMatcher>,
    /// The entries that it is for.
    pub condition: Condition,
}

/// Which entries a rule drops.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Entries of these levels, by their place in [`LEVELS`]. Entries without a level stay.
    Levels([bool; LEVELS.len()]),
    /// Entries in which it matches.
    Pattern(Regex),
}

impl DropRule {
    /// Parses `[GLOB:]level=LEVEL[,LEVEL...]` or `[GLOB:]pattern=REGEX`.
    pub fn parse(text: &str) -> Result<Self, DropError> {
        let text = text.trim();
        let rule: String = text.chars().take(SHOWN).collect();
        let (glob, condition) = match text.split_once(':') {
            Some((glob, condition)) if !is_condition(text) => (Some(glob), condition),
            _ => (None, text),
        };
        let files = glob.map(|glob| files(glob, &rule)).transpose()?;
        let condition = match condition.split_once('=') {
            Some(("level", given)) => Condition::Levels(levels(given, &rule)?),
            Some(("pattern", pattern)) if !pattern.is_empty() => {
                Condition::Pattern(patterns::compile(&rule, pattern).map_err(DropError::Pattern)?)
            }
            _ => return Err(DropError::Form(rule)),
        };
        Ok(Self { text: text.to_owned(), files, condition })
    }

    /// Whether it is for the file: by its name, or by its name without `.log`, which is the label `log_file`.
    pub fn is_for(&self, file: &str) -> bool {
        let stem = file.strip_suffix(".log").unwrap_or(file);
        self.files.as_ref().is_none_or(|files| files.is_match(file) || files.is_match(stem))
    }
}

fn is_condition(text: &str) -> bool {
    text.starts_with("level=") || text.starts_with("pattern=")
}

fn files(glob: &str, rule: &str) -> Result<GlobMatcher, DropError> {
    // Rules are passed on one a line.
    if glob.is_empty() || glob.contains(['\n', '\r']) {
        return Err(DropError::Form(rule.to_owned()));
    }
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    built
        .map(|glob| glob.compile_matcher())
        .map_err(|error| DropError::Glob { rule: rule.to_owned(), fault: error.kind().to_string() })
}

fn levels(given: &str, rule: &str) -> Result<[bool; LEVELS.len()], DropError> {
    let given: Vec<_> = given.split(',').map(str::trim).collect();
    if let Some(level) = given.iter().find(|level| !LEVELS.contains(level)) {
        return Err(DropError::Level { rule: rule.to_owned(), level: level.chars().take(SHOWN).collect() });
    }
    Ok(LEVELS.map(|level| given.contains(&level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DropRule {
        DropRule::parse(text).unwrap()
    }

    #[test]
    fn takes_levels_for_all_files_or_for_those_of_a_glob() {
        let Condition::Levels(levels) = rule(" level=debug, trace ").condition else { panic!("no levels") };
        assert_eq!(levels, [true, true, false, false, false, false]);
        assert!(rule("level=debug").is_for("dmcproxy.log"));
        let envoy = rule("envoy_access*:level=info");
        assert!(envoy.is_for("envoy_access.log") && !envoy.is_for("envoy.log"));
        // The label log_file has no ending, so a rule may lack it as well.
        assert!(rule("dmcproxy:level=info").is_for("dmcproxy.log"));
    }

    #[test]
    fn takes_a_pattern_with_any_character() {
        let rule = rule("dmcproxy*:pattern=(?i)health check: level=.*, [a-c]");
        let Condition::Pattern(regex) = rule.condition else { panic!("no pattern") };
        assert!(regex.is_match("Health Check: level=x, b"));
        let Condition::Pattern(regex) = self::rule("pattern=a:level=debug").condition else { panic!("no pattern") };
        assert!(regex.is_match("a:level=debug"));
    }

    #[test]
    fn says_what_is_wrong_with_a_rule() {
        for (given, expected) in [
            ("", "expected level=LEVEL or pattern=REGEX"),
            ("debug", "expected level=LEVEL or pattern=REGEX"),
            ("dmcproxy:debug", "expected level=LEVEL or pattern=REGEX"),
            ("a\nb:level=debug", "expected level=LEVEL or pattern=REGEX"),
            (":level=debug", "expected level=LEVEL or pattern=REGEX"),
            ("pattern=", "expected level=LEVEL or pattern=REGEX"),
            ("level=", "unknown level \"\": expected one of trace, debug"),
            ("level=debug,warning", "unknown level \"warning\""),
            ("[:level=debug", "invalid glob: unclosed character class"),
            ("pattern=(", "invalid pattern of rule \"pattern=(\": expected a regular expression: unclosed group"),
            ("pattern=x*", "it matches the empty string"),
            ("pattern=a\nb", "it has more than one line"),
        ] {
            let error = DropRule::parse(given).unwrap_err().to_string();
            assert!(error.contains(expected) && error.len() < 300, "{given}: {error}");
        }
    }
}
