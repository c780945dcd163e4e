//! One finding with the names filled in.

use std::fmt;

use serde::Serialize;

use crate::code::{Code, Severity};

/// Where the pages of the project are.
const PAGE: &str = "https://github.com/redis-log-shipper/redis-log-shipper/blob/main/docs/troubleshooting.md";

/// What is wrong with one object, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// One sentence that says what is wrong, with the names of the objects.
    pub problem: String,
    /// The command or the YAML that fixes it, with the names of the objects.
    pub fix: String,
}

impl Finding {
    /// A finding of `code`.
    pub fn new(code: Code, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, problem: problem.into(), fix: fix.into() }
    }

    /// A finding of `code` with the fix of the table. `names` fills in its placeholders, such as `("NAMESPACE", "redis")`.
    pub fn with_names(code: Code, problem: impl Into<String>, names: &[(&str, &str)]) -> Self {
        Self::new(code, problem, filled(code.fix(), names))
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// The finding and the address of its section, for places such as an Event.
    pub fn with_url(&self) -> String {
        format!("{self}; see {}", self.url())
    }

    /// The section of docs/troubleshooting.md that explains the code.
    pub fn url(&self) -> String {
        self.code.url()
    }
}

impl Code {
    /// A text about the finding, with the code and its section behind it.
    pub fn explained(self, text: &str) -> String {
        format!("{text} ({self}: see {})", self.url())
    }

    /// The section of docs/troubleshooting.md that explains the code.
    pub fn url(self) -> String {
        format!("{PAGE}#{}", self.as_str().to_ascii_lowercase())
    }
}

/// `text` with names in place of its placeholders, which are words in capitals, and without the backticks of Markdown.
fn filled(text: &str, names: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_uppercase()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_uppercase());
        match names.iter().find(|(placeholder, _)| *placeholder == word) {
            Some((_, name)) => {
                filled.push_str(name);
                filled.extend(part.chars().skip(word.len()));
            }
            None => filled.push_str(part),
        }
    }
    filled.replace('`', "")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; fix: {}", self.code, self.problem, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_code_problem_and_fix_on_one_line_and_leads_to_its_section() {
        let finding = Finding::new(Code::NamespaceNotLabelled, "namespace redis is not labelled", "label it");
        assert_eq!(finding.to_string(), "RLS201: namespace redis is not labelled; fix: label it");
        assert!(finding.url().ends_with("/docs/troubleshooting.md#rls201"));
        assert!(finding.with_url().contains("fix: label it; see https://"), "{}", finding.with_url());
    }

    #[test]
    fn fills_the_names_into_the_fix_of_the_table() {
        let finding = Finding::with_names(Code::NamespaceNotLabelled, "it is not", &[("NAMESPACE", "redis")]);
        let expected = "kubectl label namespace redis redis-log-shipper.io/inject=enabled, then restart the pods: \
                        redis-log-webhook rollout redis.";
        assert_eq!(finding.fix, expected);
        assert_eq!(filled("`A -n NAMESPACE`", &[("NAMESPACE", "NAME"), ("NAME", "x")]), "A -n NAME");
    }
}
