//! Stream labels in the syntax of Loki's push API: `{a="b", c="d"}`.

use std::fmt::Write as _;

/// A label is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid label {given:?}: expected NAME=VALUE with a name of letters, digits and _, such as job=redis")]
pub struct LabelError {
    given: String,
}

/// The label that distinguishes the files.
const LOG_FILE: &str = "log_file";

/// The label `log_file` of the stream that the other files share.
pub(crate) const SHARED: &str = "other";

/// The label `log_file` of a file with its own stream.
pub(crate) fn stem(name: &str) -> &str {
    name.strip_suffix(".log").unwrap_or(name)
}

/// The labels that all streams of this process share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Parses `NAME=VALUE` pairs. A later value of a name replaces the earlier one. All invalid pairs are reported together.
    pub fn parse(pairs: &[String]) -> Result<Self, Vec<LabelError>> {
        let (mut labels, mut faults) = (Vec::<(String, String)>::new(), Vec::new());
        for pair in pairs {
            match pair.split_once('=') {
                Some((name, value)) if is_name(name) => {
                    labels.retain(|(known, _)| known != name);
                    labels.push((name.to_owned(), value.to_owned()));
                }
                _ => faults.push(LabelError { given: pair.clone() }),
            }
        }
        if faults.is_empty() { Ok(Self(labels)) } else { Err(faults) }
    }

    /// The label set of the stream `log_file`. Like Loki, it leaves out empty values.
    pub fn stream(&self, log_file: &str) -> String {
        braced(self.of_stream(log_file))
    }

    /// These labels and one more, unless they have one of this name.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut labels = self.clone();
        if labels.0.iter().all(|(known, _)| known != name) {
            labels.0.push((name.to_owned(), value.to_owned()));
        }
        labels
    }

    /// The labels that all streams share, as names and values.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, value)| !value.is_empty())
    }

    /// The same as names and values.
    pub(crate) fn pairs(&self, log_file: &str) -> Vec<(String, String)> {
        self.of_stream(log_file).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn of_stream<'a>(&'a self, log_file: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = std::iter::once((LOG_FILE, log_file));
        let shared = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        shared.filter(|(name, _)| *name != LOG_FILE).chain(own).filter(|(_, value)| !value.is_empty())
    }
}

/// Labels as Loki parses them.
pub(crate) fn braced<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::from("{");
    for (name, value) in labels {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    }
    text.push('}');
    text
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Escapes `value` as a Go string, which Loki parses. Loki refuses U+FFFD, the replacement for invalid UTF-8, so it becomes `?`.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\u{FFFD}' => text.push('?'),
            c if c.is_control() => {
                // Writing to a string never fails.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_stream_with_its_file() {
        let labels = Labels::parse(&["job=redis".to_owned(), "empty=".to_owned()]).unwrap();
        assert_eq!(labels.stream("dmcproxy"), r#"{job="redis", log_file="dmcproxy"}"#);
    }

    #[test]
    fn escapes_what_would_end_the_value() {
        let labels = Labels::parse(&["a=x\"y\\z\n\u{FFFD}\t".to_owned()]).unwrap();
        assert_eq!(labels.stream("f"), r#"{a="x\"y\\z\n?\u0009", log_file="f"}"#);
    }

    #[test]
    fn reports_every_bad_label() {
        let faults = Labels::parse(&["a".to_owned(), "ok=1".to_owned(), "1a=b".to_owned()]).unwrap_err();
        assert_eq!(faults.len(), 2);
    }
}
