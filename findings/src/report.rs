//! What `check` prints: groups of checks, as text or as JSON.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::code::Severity;
use crate::finding::Finding;

/// All checks of one run, in the order in which they are printed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The groups.
    pub groups: Vec<Group>,
}

/// Checks that belong together.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// Its heading.
    pub name: String,
    /// Its checks.
    pub checks: Vec<Check>,
}

/// One check: one line of the text.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked, such as `pod redis/rec-0 has the sidecar`.
    pub check: String,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All is well. The detail, if it is not empty, says what was seen.
    Passed(String),
    /// Something is wrong.
    Found(Finding),
    /// The check was not made, for this reason. It neither passes nor fails.
    Skipped(String),
}

impl Outcome {
    fn severity(&self) -> Option<Severity> {
        match self {
            Self::Found(finding) => Some(finding.severity()),
            Self::Passed(_) | Self::Skipped(_) => None,
        }
    }

    /// The word at the start of the line, and in JSON.
    fn word(&self) -> &'static str {
        match (self, self.severity()) {
            (Self::Skipped(_), _) => "skip",
            (_, None) => "ok",
            (_, Some(Severity::Info)) => "info",
            (_, Some(Severity::Warning)) => "warn",
            (_, Some(Severity::Error)) => "fail",
        }
    }

    fn style(&self) -> Style {
        match (self, self.severity()) {
            (Self::Skipped(_), _) => Style::new().dimmed(),
            (_, None) => AnsiColor::Green.on_default(),
            (_, Some(Severity::Info)) => AnsiColor::Cyan.on_default(),
            (_, Some(Severity::Warning)) => AnsiColor::Yellow.on_default(),
            (_, Some(Severity::Error)) => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// An outcome in JSON: `result`, and either `detail` or the fields of the finding.
#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Detail {
        result: &'static str,
        detail: &'a str,
    },
    Found {
        result: &'static str,
        severity: Severity,
        #[serde(flatten)]
        finding: &'a Finding,
        docs: String,
    },
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let result = self.word();
        let fields = match self {
            Self::Passed(detail) | Self::Skipped(detail) => Fields::Detail { result, detail },
            Self::Found(finding) => {
                Fields::Found { result, severity: finding.severity(), finding, docs: finding.url() }
            }
        };
        fields.serialize(serializer)
    }
}

impl Report {
    /// Starts a group. The checks that [`Report::add`] adds from now on belong to it.
    pub fn group(&mut self, name: impl Into<String>) {
        self.groups.push(Group { name: name.into(), checks: Vec::new() });
    }

    /// Adds a check to the last group.
    pub fn add(&mut self, check: impl Into<String>, outcome: Outcome) {
        if self.groups.is_empty() {
            self.group("checks");
        }
        if let Some(group) = self.groups.last_mut() {
            group.checks.push(Check { check: check.into(), outcome });
        }
    }

    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.groups.iter().flat_map(|group| &group.checks).filter_map(|check| match &check.outcome {
            Outcome::Found(finding) => Some(finding),
            Outcome::Passed(_) | Outcome::Skipped(_) => None,
        })
    }

    /// Whether a finding is as bad as `threshold`, or worse.
    pub fn failed(&self, threshold: Severity) -> bool {
        self.findings().any(|finding| finding.severity() >= threshold)
    }

    /// Writes the report as text with colours. `anstream::stdout()` removes them where the output is not a terminal.
    ///
    /// # Errors
    ///
    /// Where `out` cannot be written.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let bold = Style::new().bold();
        for group in self.groups.iter().filter(|group| !group.checks.is_empty()) {
            writeln!(out, "{bold}{}{bold:#}", group.name)?;
            for check in &group.checks {
                check.write_text(out)?;
            }
            writeln!(out)?;
        }
        let count = |word| {
            self.groups.iter().flat_map(|group| &group.checks).filter(|check| check.outcome.word() == word).count()
        };
        let [ok, info, warn, fail, skip] = ["ok", "info", "warn", "fail", "skip"].map(count);
        writeln!(out, "{ok} ok, {info} info, {warn} warn, {fail} fail, {skip} skipped")
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    ///
    /// Where `out` cannot be written.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

impl Check {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let style = self.outcome.style();
        let word = self.outcome.word();
        write!(out, "  {style}{word:4}{style:#}  {}", self.check)?;
        match &self.outcome {
            Outcome::Passed(detail) | Outcome::Skipped(detail) if detail.is_empty() => writeln!(out),
            Outcome::Passed(detail) => writeln!(out, ": {detail}"),
            Outcome::Skipped(reason) => writeln!(out, ": not checked, because {reason}"),
            Outcome::Found(finding) => {
                writeln!(out)?;
                writeln!(out, "        {}: {}", finding.code, finding.problem)?;
                writeln!(out, "        fix: {}", finding.fix)?;
                writeln!(out, "        see: {}", finding.url())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    fn report() -> Report {
        let mut report = Report::default();
        report.group("pods");
        report.add("pod redis/rec-0 has the sidecar", Outcome::Passed(String::new()));
        report.add(
            "pod redis/rec-1 has the sidecar",
            Outcome::Found(Finding::new(Code::Drift, "it is old", "restart it")),
        );
        report.group("gateway");
        report.add("last push", Outcome::Skipped("the account may not read pods/proxy".to_owned()));
        report
    }

    #[test]
    fn prints_one_line_a_check_and_the_fix_below_what_is_wrong() {
        let mut text = Vec::new();
        report().write_text(&mut anstream::StripStream::new(&mut text)).unwrap();
        let expected = "\
pods
  ok    pod redis/rec-0 has the sidecar
  info  pod redis/rec-1 has the sidecar
        RLS208: it is old
        fix: restart it
        see: https://github.com/redis-log-shipper/redis-log-shipper/blob/main/docs/troubleshooting.md#rls208

gateway
  skip  last push: not checked, because the account may not read pods/proxy

1 ok, 1 info, 0 warn, 0 fail, 1 skipped
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn writes_the_same_as_json() {
        let mut text = Vec::new();
        report().write_json(&mut text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let found = json.pointer("/groups/0/checks/1").unwrap();
        assert_eq!(found.pointer("/result").unwrap(), "info");
        assert_eq!(found.pointer("/code").unwrap(), "RLS208");
        assert!(found.pointer("/docs").unwrap().as_str().unwrap().ends_with("#rls208"));
        assert_eq!(json.pointer("/groups/0/checks/0/result").unwrap(), "ok");
        assert_eq!(json.pointer("/groups/1/checks/0/result").unwrap(), "skip");
    }

    #[test]
    fn fails_from_the_threshold_on() {
        assert!(report().failed(Severity::Info));
        assert!(!report().failed(Severity::Warning));
        assert!(!Report::default().failed(Severity::Info));
    }
}
