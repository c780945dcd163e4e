//! Entries that are dropped on purpose, by level or by pattern: nothing unless a rule says so.
//!
//! An entry is dropped after it got its timestamp and after its secrets were replaced, right before it would go into a batch.
//! So a rule changes no other entry: the timestamps and the redaction of the entries around it stay. The position moves over
//! a dropped entry as over one that Loki acknowledged. A pattern sees the entry as Loki would show it.

use prometheus_client::metrics::counter::Counter;
use runtime::drops::Condition;
pub use runtime::drops::{DropError, DropRule};
use runtime::patterns::MOST;

use crate::formats::level::Level;

/// Reads rules. All faults are reported together.
pub fn parse(rules: &[String]) -> Result<Vec<DropRule>, Vec<DropError>> {
    let (mut parsed, mut faults) = (Vec::new(), Vec::new());
    for rule in rules {
        match DropRule::parse(rule) {
            Ok(rule) => parsed.push(rule),
            Err(fault) => faults.push(fault),
        }
    }
    // One list from the configuration, and one from the pod.
    if parsed.len() > 2 * MOST {
        faults.push(DropError::TooMany);
    }
    if faults.is_empty() { Ok(parsed) } else { Err(faults) }
}

/// The rules, with a counter each.
#[derive(Debug, Default)]
pub(crate) struct Drops(Vec<(DropRule, Counter)>);

impl Drops {
    /// `counter` makes the counter of a rule.
    pub(crate) fn new(rules: &[DropRule], counter: impl Fn(&str) -> Counter) -> Self {
        Self(rules.iter().map(|rule| (rule.clone(), counter(&rule.text))).collect())
    }

    /// How many entries each rule has dropped.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(rule, counter)| (rule.text.as_str(), counter.get()))
    }

    /// The rules for one file. Nothing is allocated without rules.
    pub(crate) fn of(&self, file: &str) -> FileDrops<'_> {
        FileDrops(self.0.iter().filter(|(rule, _)| rule.is_for(file)).collect())
    }
}

/// The rules for one file.
#[derive(Debug)]
pub(crate) struct FileDrops<'a>(Vec<&'a (DropRule, Counter)>);

impl FileDrops<'_> {
    /// Whether a rule drops the entry. Counts it for the first one that does.
    pub(crate) fn drop(&self, text: &[u8], level: Option<Level>) -> bool {
        let rule = self.0.iter().find(|(rule, _)| matches(&rule.condition, text, level));
        if let Some((_, counter)) = rule {
            counter.inc();
        }
        rule.is_some()
    }
}

fn matches(condition: &Condition, text: &[u8], level: Option<Level>) -> bool {
    match condition {
        // A test compares the order.
        Condition::Levels(levels) => level.is_some_and(|level| levels.get(level as usize) == Some(&true)),
        Condition::Pattern(regex) => regex.is_match(text),
    }
}

#[cfg(test)]
mod tests {
    use runtime::drops::LEVELS;

    use super::*;

    #[test]
    fn knows_every_level_by_the_word_that_loki_shows() {
        assert_eq!(Level::ALL.map(Level::word), LEVELS);
    }

    #[test]
    fn counts_an_entry_once_for_the_first_rule_that_drops_it() {
        let rules = parse(&["level=debug".to_owned(), "pattern=x".to_owned(), "a.log:level=info".to_owned()]).unwrap();
        let drops = Drops::new(&rules, |_| Counter::default());
        let counts = || drops.counts().map(|(_, count)| count).collect::<Vec<_>>();
        let file = drops.of("b.log");
        assert!(file.drop(b"x", Some(Level::Debug)) && file.drop(b"ax", None));
        assert!(!file.drop(b"a", Some(Level::Info)) && !file.drop(b"level=debug", None));
        assert_eq!(counts(), [1, 1, 0]);
        assert!(drops.of("a.log").drop(b"a", Some(Level::Info)));
        assert_eq!(counts(), [1, 1, 1]);
    }

    #[test]
    fn reports_every_fault_and_too_many_rules() {
        let faults = parse(&["level=loud".to_owned(), "x".to_owned(), "level=info".to_owned()]).unwrap_err();
        assert_eq!(faults.len(), 2);
        let many = vec!["level=debug".to_owned(); 2 * MOST + 1];
        assert_eq!(parse(&many).unwrap_err(), [DropError::TooMany]);
    }
}
