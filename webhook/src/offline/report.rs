//! Explanations as text for people.

use super::explain::{Explanation, NOT_CHECKED};
use crate::admission::Verdict;

/// As wide as a mark.
const INDENT: &str = "      ";

/// How marks are highlighted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// With colours, for a terminal.
    Colour,
    /// Without colours.
    Plain,
}

/// All explanations, and what none of them can check.
pub(crate) fn text(explanations: &[Explanation], style: Style) -> String {
    let mut text = String::new();
    for explanation in explanations {
        one(&mut text, explanation, style);
        text.push('\n');
    }
    if !explanations.is_empty() {
        text.push_str(NOT_CHECKED);
        text.push('\n');
    }
    text
}

fn one(text: &mut String, explanation: &Explanation, style: Style) {
    let namespace = explanation.namespace.as_ref().map_or("no namespace".to_owned(), |of| format!("namespace {of}"));
    line(text, "", &format!("{} ({namespace})", explanation.title));
    for row in &explanation.rules {
        line(text, mark(row.fault.is_none(), style), row.rule);
        if let Some((skip, fault)) = &row.fault {
            let code = skip.code().map(|code| format!(" ({code})")).unwrap_or_default();
            line(text, INDENT, &format!("{fault}{code}"));
        }
    }
    let outcome = match &explanation.judged.verdict {
        Verdict::Injected(_) => "would be injected".to_owned(),
        Verdict::Skipped(_) if explanation.is_injected() => "is injected already".to_owned(),
        Verdict::Skipped(skip) => format!("would not be injected: {}", skip.reason()),
        Verdict::Failed(error) | Verdict::Panicked(error) => format!("would not be injected: {error}"),
    };
    line(text, mark(explanation.is_injected(), style), &outcome);
    for (annotation, value) in &explanation.overrides {
        line(text, INDENT, &format!("override {annotation}: {value}"));
    }
    for warning in &explanation.judged.warnings {
        line(text, INDENT, &format!("warning: {}", warning.with_code()));
    }
}

fn mark(ok: bool, style: Style) -> &'static str {
    match (ok, style) {
        (true, Style::Plain) => "  ok  ",
        (false, Style::Plain) => "  NO  ",
        (true, Style::Colour) => "  \u{1b}[32mok\u{1b}[0m  ",
        (false, Style::Colour) => "  \u{1b}[1;31mNO\u{1b}[0m  ",
    }
}

/// One line. Control characters are replaced, so an object can neither start another line nor control the terminal.
fn line(text: &mut String, mark: &str, words: &str) {
    text.push_str(mark);
    text.extend(words.chars().map(|c| if c.is_control() { ' ' } else { c }));
    text.push('\n');
}
