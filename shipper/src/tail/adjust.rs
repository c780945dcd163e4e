//! Changes of the settings that may change while the shipper runs: the globs, redaction and drop rules.
//!
//! A change comes between two batches, so no entry sees half of it, and a batch that was made stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Now, Tail};
use crate::discover::Discovery;
use crate::drop::{DropRule, Drops};
use crate::redaction::{OwnRule, Redaction, Redactor, Rule};

/// The settings that may change.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// Which files are followed.
    pub discovery: Discovery,
    /// Which secrets are replaced.
    pub redaction: Redaction,
    /// Which entries are dropped.
    pub drop: Vec<DropRule>,
}

impl Tail {
    /// Uses other settings from the next batch on, and other globs from the next scan on.
    ///
    /// A file that is no longer followed keeps its position. Its batches that are made already are pushed.
    pub fn adjust(&mut self, adjustment: Adjustment) {
        let Adjustment { discovery, redaction, drop } = adjustment;
        for rule in unused(&self.settings.redaction.own, &redaction.own, OwnRule::name) {
            if !Rule::ALL.iter().any(|known| known.name() == rule) {
                self.metrics.forget_redactions(rule);
            }
        }
        for rule in unused(&self.settings.drop, &drop, |rule| rule.text.as_str()) {
            self.metrics.forget_dropped(rule);
        }
        let metrics = &self.metrics;
        self.redactor = Redactor::new(&redaction, self.settings.max_line, |rule| metrics.redactions(rule));
        self.drops = Drops::new(&drop, |rule| metrics.dropped(rule));
        (self.settings.redaction, self.settings.drop) = (redaction, drop);
        let excluded = self.streams.extract_if(.., |stream| !discovery.is_stream(&stream.name));
        self.parked.extend(excluded.map(|stream| (stream.name.to_string(), stream.record())));
        self.discovery = discovery;
    }

    /// Resumes the parked streams that the globs match, at their positions, and returns their names. To these streams, the
    /// scan is the first one after a restart.
    pub(super) fn resume_parked(&mut self, now: Now) -> std::io::Result<Vec<Arc<str>>> {
        let included = self.parked.keys().filter(|name| self.discovery.is_stream(name)).cloned();
        let mut resumed = Vec::new();
        for name in included.collect::<Vec<_>>() {
            let Some(record) = self.parked.get(&name).cloned() else { continue };
            let stream = self.resumed(&name, &record, &[], now)?;
            self.parked.remove(&name);
            resumed.push(stream.name.clone());
            if let Err(place) = self.place(&name) {
                self.streams.insert(place, stream);
            }
        }
        Ok(resumed)
    }
}

/// The names that only `before` has.
fn unused<'a, T>(before: &'a [T], after: &'a [T], name: impl Fn(&T) -> &str) -> BTreeSet<&'a str> {
    let names = |rules: &'a [T]| rules.iter().map(&name).collect::<BTreeSet<_>>();
    names(before).difference(&names(after)).copied().collect()
}
