//! The status that the tasks share: shipping writes it, and the admin port reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use findings::Finding;

use super::answer::{FileStatus, LastError, RuntimeConfigStatus, Status, TroubleStatus};
use super::deadline::{REDIS_ENTERPRISE, Standing, WriteRate};
use super::findings::{Condition, Reported, invalid_settings, loss_ahead, one_of_each, unreadable_files};
use crate::push::rejections::Rejections;
use crate::push::{Failure, rejection};
use crate::state::StreamRecord;
use crate::tail::FileState;

/// The shared status.
#[derive(Clone, Debug, Default)]
pub struct SharedStatus(Arc<Mutex<Known>>);

/// The state, with times as instants.
#[derive(Debug, Default)]
struct Known {
    status: Status,
    files: Vec<FileState>,
    /// Since when one batch is being pushed.
    pushing_since: Option<Instant>,
    /// Whether streams are set aside.
    refuses_some: bool,
    /// By file.
    progress: BTreeMap<Arc<str>, Progress>,
    /// The findings that the tasks report.
    reported: Reported,
}

/// The pushes of a file.
#[derive(Debug, Default)]
struct Progress {
    /// Since when each handed-out batch waits, oldest first.
    waiting: VecDeque<Option<Instant>>,
    /// The generation that is being shipped, and how far it is acknowledged.
    acknowledged: Option<(u64, u64)>,
    /// Why its batch is not acknowledged.
    error: Option<(String, Finding)>,
    last_error: Option<(String, Instant)>,
    /// How fast the live file grows.
    rate: WriteRate,
}

impl SharedStatus {
    /// The state of the files at this time.
    pub fn files(&self, mut files: Vec<FileState>, now: Instant) {
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.change(|known| {
            for file in &files {
                let progress = known.progress(&file.name);
                progress.rate.observe(file.size, now);
                if let Some(error) = &file.error {
                    progress.last_error = Some((error.clone(), now));
                }
            }
            known.files = files;
            known.forget_what_is_gone();
        });
    }

    /// Sets the position of a file before its first push.
    pub fn begins_at(&self, file: &str, record: &StreamRecord) {
        self.change(|known| known.progress(&Arc::from(file)).acknowledged = front(record));
    }

    /// A batch of a file was handed out. Its first byte was seen at `since`.
    pub fn handed_out(&self, file: &Arc<str>, since: Option<Instant>) {
        self.change(|known| known.progress(file).waiting.push_back(since));
    }

    /// The oldest handed-out batch of a file is acknowledged. Sets the new position.
    pub fn acknowledged(&self, file: &Arc<str>, record: Option<&StreamRecord>) {
        self.change(|known| {
            let progress = known.progress(file);
            progress.waiting.pop_front();
            progress.acknowledged = record.and_then(front);
            progress.error = None;
        });
    }

    /// How long the oldest unacknowledged byte of all files has waited.
    pub fn oldest_unacknowledged(&self, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = known.files.iter().filter_map(|file| known.unacknowledged_since(file)).min();
        oldest.map(|since| now.saturating_duration_since(since))
    }

    /// A batch is being pushed since this time, or none is.
    pub fn pushing(&self, since: Option<Instant>) {
        self.change(|known| known.pushing_since = since);
    }

    /// Whether Loki accepts nothing now: the last attempt failed, or has no answer for `patience`.
    pub fn is_away(&self, now: Instant, patience: Duration) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |since: Instant| now.saturating_duration_since(since) >= patience;
        known.pushing_since.is_some_and(|since| known.status.trouble.is_some() || waits(since))
    }

    /// Whether Loki accepts nothing, or only refused streams are left to push.
    fn is_away_or_refuses(&self, now: Instant, patience: Duration) -> bool {
        let refuses = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.pushing_since.is_none() && known.refuses_some
        };
        refuses || self.is_away(now, patience)
    }

    /// Whether there are streams that Loki refuses.
    pub fn refuses(&self, some: bool) {
        self.change(|known| known.refuses_some = some);
    }

    /// Completes once Loki accepts nothing. Checks at intervals.
    pub async fn away(&self, patience: Duration, every: Duration) {
        while !self.is_away_or_refuses(tokio::time::Instant::now().into_std(), patience) {
            tokio::time::sleep(every).await;
        }
    }

    /// A push of a batch of this file failed.
    pub fn trouble(&self, file: &Arc<str>, failure: &Failure<'_>) {
        let trouble = TroubleStatus {
            file: file.to_string(),
            reason: failure.trouble.reason(),
            answer: failure.answer.to_owned(),
            finding: failure.finding.clone().into(),
        };
        let error = format!("{}: {}", trouble.reason, trouble.answer);
        self.change(|known| {
            let progress = known.progress(file);
            progress.error = Some((error.clone(), failure.finding.clone()));
            progress.last_error = Some((error, Instant::now()));
            known.status.trouble = Some(trouble);
        });
    }

    /// Loki rejected these entries of a file for good.
    pub fn rejected(&self, file: &Arc<str>, rejected: &Rejections) {
        if rejected.total() > 0 {
            let reasons: Vec<_> =
                rejected.iter().map(|(reason, entries)| format!("{entries} {}", reason.word())).collect();
            let error = format!("entries rejected for good: {}", reasons.join(", "));
            self.change(|known| {
                known.progress(file).last_error = Some((error, Instant::now()));
                for (reason, _) in rejected.iter() {
                    let Finding { code, problem, fix } = rejection(reason);
                    known.reported.event(Finding::new(code, format!("{file}: {problem}"), fix), Instant::now());
                }
            });
        }
    }

    /// Sets how many entries each drop rule has dropped.
    pub fn dropped<'a>(&self, counts: impl Iterator<Item = (&'a str, u64)>) {
        let mut counts = counts.peekable();
        if counts.peek().is_some() {
            self.change(|known| known.status.dropped = counts.map(|(rule, count)| (rule.to_owned(), count)).collect());
        }
    }

    /// The settings are invalid.
    pub fn faults(&self, faults: &[String]) {
        self.change(|known| known.status.faults = faults.to_vec());
    }

    /// How the runtime configuration stands.
    pub fn runtime_config(&self, status: RuntimeConfigStatus) {
        self.change(|known| known.status.runtime_config = Some(status));
    }

    /// Sets why shipping cannot begin. `None` once it can.
    pub fn waits_for(&self, what: Option<String>) {
        self.change(|known| known.status.waits_for = what);
    }

    /// A condition begins or lasts, or is over. Returns whether it held before.
    pub(crate) fn condition(&self, condition: Condition, finding: Option<Finding>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reported.condition(condition, finding)
    }

    /// Something happened that is worth a finding for a while.
    pub(crate) fn event(&self, finding: Finding, now: Instant) {
        self.change(|known| known.reported.event(finding, now));
    }

    /// The findings that hold now, at most one of each code, the worst first.
    pub fn findings(&self, now: Instant) -> Vec<Finding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).findings(now)
    }

    /// A push was acknowledged.
    pub fn pushed(&self, entries: usize) {
        self.change(|known| {
            known.status.trouble = None;
            known.status.entries_pushed += entries as u64;
        });
    }

    /// The file whose unacknowledged lines log rotation deletes first, and the time until then.
    pub fn until_loss(&self, now: Instant) -> Option<(Arc<str>, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).nearest_loss(now)
    }

    /// The current status.
    pub fn get(&self, now: Instant) -> Status {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = known.files.iter().filter(|file| known.is_there(file)).map(|file| known.file(file, now));
        let files: Vec<_> = files.collect();
        let seconds_until_loss = files.iter().filter_map(|file| file.seconds_until_loss).min();
        let findings = known.findings(now).into_iter().map(Into::into).collect();
        Status { files, findings, seconds_until_loss, ..known.status.clone() }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The generation that is being shipped, and how far it is acknowledged.
fn front(record: &StreamRecord) -> Option<(u64, u64)> {
    record.queue.first().map(|front| (front.inode, front.position))
}

impl Known {
    fn progress(&mut self, file: &Arc<str>) -> &mut Progress {
        self.progress.entry(file.clone()).or_default()
    }

    /// Whether a file of this name exists, or has unacknowledged lines.
    fn is_there(&self, file: &FileState) -> bool {
        let waits = self.progress.get(&file.name).is_some_and(|progress| !progress.waiting.is_empty());
        file.generations > 0 || waits || file.error.is_some()
    }

    /// Forgets files that no longer exist, so that memory stays bounded.
    fn forget_what_is_gone(&mut self) {
        let files = &self.files;
        let is_known = |name: &Arc<str>| {
            let place = files.binary_search_by(|file| file.name.cmp(name)).ok();
            place.and_then(|place| files.get(place)).is_some_and(|file| file.generations > 0)
        };
        self.progress.retain(|name, progress| !progress.waiting.is_empty() || is_known(name));
    }

    fn findings(&self, now: Instant) -> Vec<Finding> {
        let pushes = self.progress.values().filter_map(|progress| Some(progress.error.as_ref()?.1.clone()));
        let loss = self.nearest_loss(now).and_then(|(file, left)| loss_ahead(&file, left));
        let settings = invalid_settings(&self.status.faults);
        let derived = settings.into_iter().chain(unreadable_files(self.files.iter())).chain(loss);
        one_of_each(derived.chain(pushes).chain(self.reported.holding(now)))
    }

    fn nearest_loss(&self, now: Instant) -> Option<(Arc<str>, Duration)> {
        let of = |file: &FileState| Some((file.name.clone(), self.until_loss(file, now)?));
        self.files.iter().filter_map(of).min_by_key(|(_, left)| *left)
    }

    fn unacknowledged_since(&self, file: &FileState) -> Option<Instant> {
        let pushed =
            self.progress.get(&file.name).and_then(|progress| progress.waiting.iter().flatten().min().copied());
        pushed.into_iter().chain(file.unread_since).min()
    }

    fn until_loss(&self, file: &FileState, now: Instant) -> Option<Duration> {
        let waits = now.saturating_duration_since(self.unacknowledged_since(file)?);
        let progress = self.progress.get(&file.name);
        let acknowledged = progress.and_then(|progress| progress.acknowledged);
        // Bytes that are read but not acknowledged may be in the file before it.
        let is_ahead = acknowledged.zip(file.front).is_some_and(|((inode, _), (front, _))| inode != front);
        let rotations = file.generations.saturating_sub(1) + usize::from(is_ahead);
        REDIS_ENTERPRISE.until_loss(&Standing {
            waits,
            rotations: u32::try_from(rotations).unwrap_or(u32::MAX),
            quiet: file.front.map_or(waits, |(_, grew_at)| now.saturating_duration_since(grew_at)),
            live_size: file.size,
            bytes_per_second: progress.map_or(0.0, |progress| progress.rate.bytes_per_second()),
        })
    }

    fn file(&self, file: &FileState, now: Instant) -> FileStatus {
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        let progress = self.progress.get(&file.name);
        let acknowledged = progress.and_then(|progress| progress.acknowledged);
        let position = acknowledged.map_or(0, |(_, position)| position);
        // Handed-out bytes may be unacknowledged. By now a younger generation may be read.
        let pushing = progress.filter(|progress| !progress.waiting.is_empty());
        let pushed = pushing.map_or(0, |_| file.position.saturating_sub(position));
        let last_error = progress.and_then(|progress| progress.last_error.as_ref());
        FileStatus {
            file: file.name.to_string(),
            size: file.size,
            generation: acknowledged.map(|(inode, _)| inode),
            generations: file.generations,
            position,
            lag_bytes: file.unread + pushed,
            oldest_unacknowledged_seconds: self.unacknowledged_since(file).map(seconds),
            seconds_until_loss: self.until_loss(file, now).map(|left| left.as_secs()),
            error: file.error.clone().or_else(|| Some(progress?.error.as_ref()?.0.clone())),
            last_error: last_error.map(|(what, at)| LastError { what: what.clone(), seconds_ago: seconds(*at) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use findings::Code;

    use super::*;
    use crate::push::answer::Trouble;
    use crate::push::rejections::Reason;
    use crate::state::GenerationRecord;

    fn state(unread_since: Option<Instant>) -> FileState {
        let name = "a.log".into();
        FileState { name, size: 30, position: 20, unread: 10, unread_since, front: None, generations: 1, error: None }
    }

    fn record(inode: u64, position: u64) -> StreamRecord {
        let front = GenerationRecord { inode, position, ..GenerationRecord::default() };
        StreamRecord { queue: vec![front], ..StreamRecord::default() }
    }

    fn fails(status: &SharedStatus, file: &Arc<str>) {
        let finding = Finding::new(Code::MayNotPush, "it may not push", "grant it");
        status.trouble(
            file,
            &Failure { trouble: &Trouble::Forbidden, answer: "403 Forbidden: no", finding: &finding, clock_skew: None },
        );
    }

    #[test]
    fn tells_how_long_the_oldest_byte_waits_that_is_not_acknowledged() {
        let (status, start, file) = (SharedStatus::default(), Instant::now(), Arc::from("a.log"));
        let after = |seconds| start + Duration::from_secs(seconds);
        let age = || status.get(after(9)).files.remove(0).oldest_unacknowledged_seconds;
        status.files(vec![state(Some(after(3)))], Instant::now());
        assert_eq!(age(), Some(6));
        status.handed_out(&file, Some(after(1)));
        status.handed_out(&file, Some(after(2)));
        assert_eq!(age(), Some(8));
        assert_eq!(status.oldest_unacknowledged(after(9)), Some(Duration::from_secs(8)));
        status.acknowledged(&file, Some(&record(7, 10)));
        assert_eq!(age(), Some(7));
        status.acknowledged(&file, Some(&record(7, 20)));
        status.files(vec![state(None)], Instant::now());
        assert_eq!(age(), None);
    }

    #[test]
    fn tells_which_generation_is_shipped_how_far_it_is_acknowledged_and_what_is_left() {
        let (status, file) = (SharedStatus::default(), Arc::from("a.log"));
        let stands = || {
            let file = status.get(Instant::now()).files.remove(0);
            (file.generation, file.position, file.lag_bytes)
        };
        status.begins_at("a.log", &record(7, 5));
        status.files(vec![FileState { position: 5, unread: 25, ..state(None) }], Instant::now());
        assert_eq!(stands(), (Some(7), 5, 25));
        // A handed-out batch is not acknowledged.
        status.handed_out(&file, None);
        status.files(vec![state(None)], Instant::now());
        assert_eq!(stands(), (Some(7), 5, 25));
        status.acknowledged(&file, Some(&record(7, 20)));
        assert_eq!(stands(), (Some(7), 20, 10));
        // A younger generation follows.
        status.handed_out(&file, None);
        status.acknowledged(&file, Some(&record(8, 0)));
        assert_eq!(stands(), (Some(8), 0, 10));
    }

    #[test]
    fn says_when_rotation_deletes_what_is_not_acknowledged() {
        let (status, start, file) = (SharedStatus::default(), Instant::now(), Arc::from("a.log"));
        let after = |seconds| start + Duration::from_secs(seconds);
        let left = |seconds| {
            let all = status.get(after(seconds));
            assert_eq!(all.seconds_until_loss, all.files.iter().filter_map(|file| file.seconds_until_loss).min());
            assert_eq!(all.seconds_until_loss, status.until_loss(after(seconds)).map(|(_, left)| left.as_secs()));
            all.seconds_until_loss
        };
        let (day, mib) = (86400, 1 << 20);
        // An old file that nobody writes to.
        let quiet = |front| FileState { front: Some((front, start)), ..state(Some(after(10))) };
        status.begins_at("a.log", &record(7, 0));
        status.files(vec![quiet(7)], start);
        assert_eq!([left(69), left(70), left(day)], [None, Some(7 * day - 70), Some(6 * day)]);
        // Another file grows by 1 MiB/s and was rotated nine times. Its deletion is next.
        let busy = |size, generations| {
            let front = Some((8, after(0)));
            FileState { name: "b.log".into(), size, front, generations, ..state(Some(after(10))) }
        };
        status.files(vec![quiet(7), busy(0, 10)], after(0));
        status.files(vec![quiet(7), busy(100 * mib, 10)], after(100));
        assert_eq!(left(100), Some(100 + 300));
        assert_eq!(status.until_loss(after(100)).unwrap().0, "b.log".into());
        // Its unacknowledged lines are in the file before the file that is read. The next rotation deletes that file.
        status.begins_at("b.log", &record(6, 0));
        assert_eq!(left(100), Some(100));
        // Everything is acknowledged.
        status.files(vec![FileState { unread: 0, ..state(None) }], after(100));
        status.handed_out(&file, Some(after(10)));
        assert!(left(100).is_some());
        status.acknowledged(&file, Some(&record(7, 20)));
        assert_eq!(left(100), None);
    }

    #[test]
    fn tells_of_each_file_what_is_wrong_with_it_and_what_was_last() {
        let status = SharedStatus::default();
        let (pushed, unreadable): (Arc<str>, Arc<str>) = (Arc::from("a.log"), Arc::from("b.log"));
        let errors = || {
            let files = status.get(Instant::now() + Duration::from_mins(1)).files;
            files.into_iter().map(|file| (file.error, file.last_error)).collect::<Vec<_>>()
        };
        let last = |what: &str| Some(LastError { what: what.to_owned(), seconds_ago: 60 });
        let both = |error: Option<&str>| {
            let other = FileState { name: unreadable.clone(), error: error.map(ToOwned::to_owned), ..state(None) };
            status.files(vec![other, state(None)], Instant::now());
        };
        both(None);
        assert_eq!(errors(), [(None, None), (None, None)]);

        status.handed_out(&pushed, None);
        fails(&status, &pushed);
        let forbidden = "forbidden: 403 Forbidden: no";
        assert_eq!(errors()[0], (Some(forbidden.to_owned()), last(forbidden)));
        assert_eq!(errors()[1], (None, None));
        assert_eq!(status.get(Instant::now()).trouble.unwrap().file, "a.log");

        both(Some("EIO"));
        status.acknowledged(&pushed, Some(&record(7, 20)));
        assert_eq!(errors(), [(None, last(forbidden)), (Some("EIO".to_owned()), last("EIO"))]);

        both(None);
        status.rejected(&pushed, &Rejections::of(Reason::TooOld, 2));
        assert_eq!(errors(), [(None, last("entries rejected for good: 2 too_old")), (None, last("EIO"))]);
    }

    #[test]
    fn has_a_finding_of_each_code_while_its_cause_lasts() {
        let (status, start) = (SharedStatus::default(), Instant::now());
        let codes = |after: u64| -> Vec<_> {
            let findings = status.findings(start + Duration::from_secs(after));
            findings.into_iter().map(|finding| finding.code).collect()
        };
        let (held, other): (Arc<str>, Arc<str>) = (Arc::from("a.log"), Arc::from("b.log"));
        for file in [&held, &other] {
            status.handed_out(file, None);
            fails(&status, file);
        }
        let unreadable = FileState { error: Some("EACCES".to_owned()), ..state(None) };
        status.files(vec![unreadable, FileState { name: other.clone(), ..state(None) }], start);
        assert_eq!(codes(0), [Code::MayNotPush, Code::LogsUnreadable]);

        // Another stream is acknowledged, and this one is still refused.
        status.acknowledged(&other, Some(&record(7, 20)));
        status.pushed(1);
        assert_eq!(codes(0), [Code::MayNotPush, Code::LogsUnreadable]);
        status.acknowledged(&held, Some(&record(7, 20)));
        assert_eq!(codes(0), [Code::LogsUnreadable]);

        status.files(vec![state(None)], start);
        status.rejected(&held, &Rejections::of(Reason::TooOld, 2));
        assert_eq!(codes(60), [Code::LinesTooOld]);
        assert_eq!(codes(2 * 3600), []);
        // A week after its last write a file is deleted.
        status.files(vec![FileState { front: Some((7, start)), ..state(Some(start)) }], start);
        assert_eq!(codes(7 * 86400 - 3600), [Code::LossAhead]);
    }

    #[test]
    fn knows_that_loki_is_away_by_a_failure_or_a_silence() {
        let (status, file, start) = (SharedStatus::default(), Arc::from("a.log"), Instant::now());
        let patience = Duration::from_secs(3);
        assert!(!status.is_away(start, patience));
        status.pushing(Some(start));
        assert!(!status.is_away(start, patience));
        assert!(status.is_away(start + patience, patience));
        fails(&status, &file);
        assert!(status.is_away(start, patience));
        status.pushed(1);
        status.pushing(None);
        assert!(!status.is_away(start + patience, patience));
    }

    #[test]
    fn forgets_files_that_are_gone() {
        let (status, file) = (SharedStatus::default(), Arc::from("a.log"));
        let gone = || status.files(vec![FileState { generations: 0, ..state(None) }], Instant::now());
        status.files(vec![state(None)], Instant::now());
        status.handed_out(&file, None);
        fails(&status, &file);
        gone();
        assert_eq!(status.get(Instant::now()).files.len(), 1, "its last lines are not acknowledged");
        status.acknowledged(&file, Some(&StreamRecord::default()));
        gone();
        assert_eq!(status.get(Instant::now()).files.len(), 0);
        assert!(status.0.lock().unwrap().progress.is_empty());
        // A file that comes back has no history.
        status.files(vec![state(None)], Instant::now());
        assert_eq!(status.get(Instant::now()).files.remove(0).last_error, None);
    }
}
