//! Reads the programs' error texts from their sources. Every string of a few words counts, unless it is clearly something else
//! or excepted here. So no new text is forgotten.

use std::path::{Path, PathBuf};

use harness::repository;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Macros whose texts are not errors: information, unreachable code, data.
const TOLD: [&str; 9] = ["info", "debug", "trace", "unreachable", "json", "write", "writeln", "println", "concat"];
/// Calls whose texts describe metrics, or are the words of a finding: its code leads to its section of the page.
const DESCRIBED: [&str; 4] = ["register", "register_with_unit", "finding", "with_names"];
/// Files and folders whose texts are results of a command, findings (which have sections of their own), or Loki's own words.
const NOT_OURS_TO_EXPLAIN: &[&str] = &[
    "certs/src/trust.rs",
    "webhook/src/audit/",
    "shipper/src/check/",
    "webhook/src/check/",
    "webhook/src/offline/report.rs",
    "webhook/src/rollout/",
    "webhook/src/offline/explain.rs",
    "shipper/src/commands/preview/",
    "shipper/src/commands/run/summary.rs",
    "shipper/src/push/answer.rs",
    "shipper/src/push/finding.rs",
    "shipper/src/push/rejections.rs",
    "shipper/src/status/findings.rs",
];
/// Texts that are not errors: names, formats, parts of other texts.
const NO_ERRORS: &[&str] = &[
    "redis-log-shipper webhook CA",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "redis-log-shipper positions v1",
    "-----END CERTIFICATE-----",
    "the log shipper was added",
    "standard input",
    "dns error",
    "(no kind)/…",
    "did you mean …?",
    "did you mean ……?",
    "expected one of …",
    "it has no container log-shipper yet",
    "LAST ENTRY",
    "… …/… … … left … rejected",
    "; the entry of … ns, … bytes: …",
    "… is shipped from its start after the next start",
];

/// A text and its source file.
#[derive(Debug)]
pub(crate) struct Text {
    /// The text, with `…` for each value.
    pub(crate) text: String,
    pub(crate) place: String,
}

/// All error texts.
pub(crate) fn all() -> Vec<Text> {
    let mut texts = Vec::new();
    for folder in ["certs/src", "runtime/src", "shipper/src", "webhook/src"] {
        for file in files(&repository().join(folder)) {
            let name = file.strip_prefix(repository()).unwrap().display().to_string();
            if !NOT_OURS_TO_EXPLAIN.iter().any(|place| name.starts_with(place)) {
                let source = std::fs::read_to_string(&file).unwrap();
                let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
                collect(tokens, &name, &mut texts);
            }
        }
    }
    texts
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn collect(tokens: TokenStream, file: &str, texts: &mut Vec<Text>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let ident = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    let mut at = 0;
    while at < tokens.len() {
        let (next, after) = (ident(at), ident(at + 1));
        match &tokens[at] {
            // An attribute: a doc comment, a lint, `error("...")`, or test code.
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                at += 1 + usize::from(is(at + 1, '!'));
                let Some(TokenTree::Group(group)) = tokens.get(at) else { continue };
                let attribute = group.stream().to_string();
                if attribute.starts_with("cfg (test)") || attribute.starts_with("cfg(test)") {
                    // The item ends with its body, or without one.
                    while at < tokens.len() && !is(at, ';') && !is_body(&tokens[at]) {
                        at += 1;
                    }
                }
                if attribute.starts_with("error") {
                    collect(group.stream(), file, texts);
                }
            }
            TokenTree::Ident(_) if TOLD.contains(&next.as_str()) && is(at + 1, '!') => at += 2,
            TokenTree::Ident(_) if DESCRIBED.contains(&next.as_str()) => at += 1,
            // `let help = "...";` and `help: "..."` describe a metric, `name: "..."` a rule.
            TokenTree::Ident(_) if next == "let" && after == "help" => at += 3,
            TokenTree::Ident(_) if (next == "name" || next == "help") && is(at + 1, ':') => at += 2,
            TokenTree::Group(group) if group.delimiter() != Delimiter::None || !group.stream().is_empty() => {
                collect(group.stream(), file, texts);
            }
            TokenTree::Literal(literal) => {
                if let Some(text) = text_of(&literal.to_string()) {
                    texts.push(Text { text, place: file.to_owned() });
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The text of a literal, if it is one of a few words.
fn text_of(literal: &str) -> Option<String> {
    let text = literal.strip_prefix('"')?.strip_suffix('"')?;
    let text = normal(&unescaped(text));
    let words = text.split(' ').filter(|word| word.chars().filter(char::is_ascii_alphabetic).count() > 1).count();
    (words > 1 && !NO_ERRORS.contains(&text.as_str())).then_some(text)
}

fn unescaped(text: &str) -> String {
    let (mut plain, mut chars) = (String::new(), text.chars().peekable());
    while let Some(char) = chars.next() {
        match (char, chars.peek().copied()) {
            // A line continuation skips white space.
            ('\\', Some('\n')) => while chars.next_if(|next| next.is_whitespace()).is_some() {},
            ('\\', Some('n')) => {
                chars.next();
                plain.push(' ');
            }
            ('\\', Some(_)) => plain.extend(chars.next()),
            _ => plain.push(char),
        }
    }
    plain
}

/// The text with `…` for each value, and without Markdown's escapes.
pub(crate) fn normal(text: &str) -> String {
    let (mut normal, mut depth) = (String::new(), 0_u32);
    for char in text.chars().filter(|char| !"`\\".contains(*char)) {
        match char {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    normal.push('…');
                }
            }
            _ if depth == 0 => normal.push(char),
            _ => {}
        }
    }
    normal.split_whitespace().collect::<Vec<_>>().join(" ")
}
