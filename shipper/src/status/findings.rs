//! The findings that hold now, and the words for those that are not about a push.
//!
//! A finding follows from what the status knows, so it does not outlive its cause. At most one finding of each code holds:
//! the first of them stands for all, because codes are a label of a metric. `push` has the words for failed pushes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use findings::{Code, Finding};

use super::deadline::urgency;
use crate::tail::FileState;

/// How long an event is a finding: somebody should see it who looks once an hour.
const RECENT: Duration = Duration::from_hours(1);

/// What can be wrong until somebody says that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// Shipping cannot begin.
    Start,
    /// The log directory cannot be scanned.
    LogDirectory,
    /// Positions are not kept where they should be.
    State,
    /// The clock differs from the server's.
    Clock,
    /// The runtime configuration is invalid.
    RuntimeConfig,
}

/// The conditions and events that the tasks report.
#[derive(Debug, Default)]
pub(super) struct Reported {
    conditions: BTreeMap<Condition, Finding>,
    events: BTreeMap<Code, (Finding, Instant)>,
}

impl Reported {
    /// A condition begins or lasts, or is over. Returns whether it held before.
    pub(super) fn condition(&mut self, condition: Condition, finding: Option<Finding>) -> bool {
        let before = match finding {
            Some(finding) => self.conditions.insert(condition, finding),
            None => self.conditions.remove(&condition),
        };
        before.is_some()
    }

    /// Something happened that is over already.
    pub(super) fn event(&mut self, finding: Finding, now: Instant) {
        self.events.insert(finding.code, (finding, now));
    }

    /// What holds now.
    pub(super) fn holding(&self, now: Instant) -> impl Iterator<Item = Finding> {
        let is_recent = move |at: Instant| now.saturating_duration_since(at) < RECENT;
        let recent = self.events.values().filter(move |(_, at)| is_recent(*at)).map(|(finding, _)| finding);
        self.conditions.values().chain(recent).cloned()
    }
}

/// One finding of each code, the worst first.
pub(super) fn one_of_each(findings: impl Iterator<Item = Finding>) -> Vec<Finding> {
    let mut by_code = BTreeMap::new();
    for finding in findings {
        by_code.entry(finding.code).or_insert(finding);
    }
    let mut findings: Vec<_> = by_code.into_values().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    findings
}

/// The settings cannot be used.
pub(crate) fn invalid_settings(faults: &[String]) -> Option<Finding> {
    let problem = || format!("the settings are invalid, and nothing is shipped: {}", faults.join("; "));
    (!faults.is_empty())
        .then(|| Finding::new(Code::SettingsInvalid, problem(), "correct these values, and restart the pod"))
}

/// The runtime configuration cannot be used.
pub(crate) fn invalid_runtime_config(file: &Path, faults: &[String]) -> Finding {
    let (file, faults) = (file.display(), faults.join("; "));
    Finding::new(
        Code::RuntimeConfigInvalid,
        format!("the runtime configuration {file} is invalid, and the last valid one stays in use: {faults}"),
        "correct these lines in the ConfigMap of the namespace (by default redis-log-shipper); no restart is needed",
    )
}

/// The log directory cannot be read.
pub(crate) fn unreadable_directory(dir: &Path, error: &str) -> Finding {
    Finding::new(
        Code::NoLogDirectory,
        format!("the log directory {} cannot be read: {error}", dir.display()),
        "correct --log-dir (logDir of the configuration of the webhook), and let this user read the directory",
    )
}

/// Files that cannot be read. The error of the first of them stands for all.
pub(crate) fn unreadable_files<'a>(files: impl Iterator<Item = &'a FileState>) -> Option<Finding> {
    let mut unreadable = files.filter_map(|file| Some((&file.name, file.error.as_ref()?)));
    let (name, error) = unreadable.next()?;
    let others = match unreadable.count() {
        0 => String::new(),
        others => format!(", nor can {others} other log files"),
    };
    Some(Finding::new(
        Code::LogsUnreadable,
        format!("{name} cannot be read: {error}{others}"),
        "for a missing permission set fsGroup in the security context of the pod, so that the sidecar has the group of the \
         files; else check the volume",
    ))
}

/// Positions are kept elsewhere, or not at all.
pub(crate) fn state_not_writable(error: &str, fallback: Option<&Path>) -> Finding {
    let kept = match fallback {
        Some(fallback) => format!("positions are kept in {}, which ends with the pod", fallback.display()),
        None => "positions are not saved, and a restart would ship some lines again".to_owned(),
    };
    Finding::new(
        Code::StateNotWritable,
        format!("{kept}: {error}"),
        "set fsGroup in the security context of the pod, free space on the volume, or set the annotation \
         redis-log-shipper.io/state: ephemeral",
    )
}

/// Another shipper uses the state directory.
pub(crate) fn state_in_use(error: &str) -> Finding {
    Finding::new(Code::StateInUse, error, "end the other process, or use another --state-dir")
}

/// Log rotation deletes unacknowledged lines soon, if that is so.
pub(crate) fn loss_ahead(file: &str, left: Duration) -> Option<Finding> {
    let minutes = left.as_secs() / 60;
    (urgency(Some(left)) > 0).then(|| {
        Finding::new(
            Code::LossAhead,
            format!("log rotation deletes lines of {file} in {minutes} minutes that Loki has not acknowledged"),
            "fix the cause that holds the push (the other findings name it), or copy the files elsewhere and ship them \
             later with run --once",
        )
    })
}

/// Lines are gone that were not shipped.
pub(crate) fn lines_lost() -> Finding {
    Finding::new(
        Code::LinesLost,
        "lines were deleted before they were shipped; the log names the files",
        "nothing brings these lines back; find out why pushing was held, and keep more rotated files",
    )
}

/// Entries are skipped for their age.
pub(crate) fn too_old_to_push() -> Finding {
    Finding::new(
        Code::LinesTooOld,
        "entries are older than --max-age and are skipped; the log names the files",
        "raise --max-age (maxAge of the configuration) and reject_old_samples_max_age in Loki's limits_config, and ship the \
         files again with run --once",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_an_event_after_an_hour_and_a_condition_once_it_is_over() {
        let (mut reported, start) = (Reported::default(), Instant::now());
        let codes = |reported: &Reported, after| {
            reported.holding(start + after).map(|finding| finding.code).collect::<Vec<_>>()
        };
        reported.event(lines_lost(), start);
        reported.condition(Condition::State, Some(state_not_writable("EROFS", None)));
        assert_eq!(codes(&reported, Duration::from_mins(59)), [Code::StateNotWritable, Code::LinesLost]);
        assert_eq!(codes(&reported, RECENT), [Code::StateNotWritable]);
        reported.condition(Condition::State, None);
        assert_eq!(codes(&reported, RECENT), []);
    }

    #[test]
    fn shows_one_finding_of_each_code_and_the_worst_first() {
        let other = Finding::new(Code::LinesLost, "another", "");
        let findings =
            one_of_each([lines_lost(), other, unreadable_directory(Path::new("/logs"), "ENOENT")].into_iter());
        let problems: Vec<_> = findings.iter().map(|finding| &*finding.problem).collect();
        assert_eq!(problems, ["the log directory /logs cannot be read: ENOENT", &lines_lost().problem]);
    }

    #[test]
    fn names_the_first_unreadable_file_and_counts_the_others() {
        let file = |name: &str, error: Option<&str>| FileState {
            name: name.into(),
            size: 0,
            position: 0,
            unread: 0,
            unread_since: None,
            front: None,
            generations: 1,
            error: error.map(ToOwned::to_owned),
        };
        let files = [file("a.log", None), file("b.log", Some("EACCES")), file("c.log", Some("EIO"))];
        let problem = |files: &[FileState]| unreadable_files(files.iter()).map(|finding| finding.problem);
        assert_eq!(problem(&files[..1]), None);
        assert_eq!(problem(&files[..2]).unwrap(), "b.log cannot be read: EACCES");
        assert_eq!(problem(&files).unwrap(), "b.log cannot be read: EACCES, nor can 1 other log files");
    }

    #[test]
    fn finds_a_loss_ahead_once_it_is_near() {
        assert_eq!(loss_ahead("a.log", Duration::from_hours(3)), None);
        assert!(loss_ahead("a.log", Duration::from_mins(90)).unwrap().problem.contains("a.log in 90 minutes"));
    }
}
