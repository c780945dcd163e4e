//! What `run --once` prints at its end.

use std::io::Write as _;

use bytesize::ByteSize;
use jiff::{Timestamp, Unit};

use crate::labels;
use crate::metrics::Metrics;
use crate::pipeline::Complete;
use crate::redaction::Rule;
use crate::settings::Settings;
use crate::tally::Counts;

/// What is known before the end.
#[derive(Debug)]
pub(super) struct Summary {
    /// The names of the redaction rules.
    redactions: Vec<String>,
    drops: Vec<String>,
    labels: Vec<(String, String)>,
    has_nodes: bool,
    /// What the survey left out, by reason.
    left_out: Vec<(&'static str, usize)>,
}

impl Summary {
    pub(super) fn new(settings: &Settings) -> Self {
        let own = settings.tail.redaction.own.iter().map(|rule| rule.name().to_owned());
        let mut redactions: Vec<_> = Rule::ALL.iter().map(|rule| rule.name().to_owned()).chain(own).collect();
        redactions.dedup();
        let labels = settings.tail.labels.shared().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            redactions,
            drops: settings.tail.drop.iter().map(|rule| rule.text.clone()).collect(),
            labels: labels.collect(),
            has_nodes: false,
            left_out: Vec::new(),
        }
    }

    /// Takes in what the survey found.
    pub(super) fn surveyed(&mut self, complete: &Complete) {
        self.has_nodes = complete.has_nodes();
        self.left_out = complete.left_out();
    }

    /// Prints it to standard output. Returns whether nothing was rejected and nothing left.
    pub(super) fn print(&self, counts: &Counts, metrics: &Metrics) -> std::io::Result<bool> {
        let (text, is_clean) = self.text(counts, metrics);
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(is_clean)
    }

    fn text(&self, counts: &Counts, metrics: &Metrics) -> (String, bool) {
        let stored: u64 = counts.stored.values().sum();
        let time = |nanos: i64| Timestamp::from_nanosecond(i128::from(nanos)).map(seconds).unwrap_or_default();
        let range =
            counts.times.map_or(String::new(), |(first, last)| format!(" from {} to {}", time(first), time(last)));
        let mut lines = vec![format!("shipped {stored} entries of {} files{range}", counts.stored.len())];
        let width = counts.stored.keys().map(|file| file.chars().count()).max().unwrap_or_default();
        for (file, entries) in &counts.stored {
            let file = runtime::printable(file);
            lines.push(format!("  {file:width$}  {entries}"));
        }
        let by_rule = |rules: &[String], count: &dyn Fn(&str) -> u64| {
            let counts = rules.iter().map(|rule| (rule.as_str(), count(rule))).filter(|(_, count)| *count > 0);
            counts.map(|(rule, count)| format!("{rule} {count}")).collect::<Vec<_>>().join(", ")
        };
        let redacted = by_rule(&self.redactions, &|rule| metrics.redactions(rule).get());
        let dropped = by_rule(&self.drops, &|rule| metrics.dropped(rule).get());
        let rejected: Vec<_> = counts.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let left_out: Vec<_> = self.left_out.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let old = metrics.skipped_old();
        let skipped = if old > 0 { format!("{old} entries older than --max-age") } else { String::new() };
        let left = counts.total.saturating_sub(counts.done);
        let left = if left == 0 { String::new() } else { format!("{} of {}", ByteSize(left), ByteSize(counts.total)) };
        let is_damaged = self.left_out.iter().any(|(what, _)| what.starts_with("damaged"));
        for (what, text) in [
            ("secrets redacted", redacted),
            ("dropped by rules", dropped),
            ("skipped", skipped),
            ("rejected by Loki", rejected.join(", ")),
            ("left out", left_out.join(", ")),
            ("not shipped", left),
        ] {
            if !text.is_empty() {
                lines.push(format!("{what}: {text}"));
            }
        }
        lines.push(format!("query: {}", self.query()));
        let is_clean = counts.is_complete && counts.rejected.is_empty() && old == 0 && !is_damaged;
        (lines.join("\n") + "\n", is_clean)
    }

    /// The LogQL query that shows the entries. Loki wants at least one label.
    fn query(&self) -> String {
        let labels = labels::braced(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let any = if self.has_nodes { "node=~\".+\"" } else { "log_file=~\".+\"" };
        match labels.strip_suffix('}').filter(|labels| labels.len() > 1) {
            Some(labels) if self.has_nodes => format!("{labels}, {any}}}"),
            Some(labels) => format!("{labels}}}"),
            None => format!("{{{any}}}"),
        }
    }
}

/// To the second.
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    time.round(Unit::Second).unwrap_or(time)
}
