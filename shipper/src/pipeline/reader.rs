//! The reading half: files to batches, woken by notifications and a poll.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::findings::Code;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aside::Aside;
use super::clock::WallClock;
use super::ending::{Ending, listening_ports};
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::status::{Condition, SharedStatus, findings, urgency};
use crate::tail::{Adjustment, Now, Tail};

/// The directory is scanned at this interval if no notification comes.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Notifications within this time cause one scan, because a busy log file changes thousands of times a second.
const SETTLE: Duration = Duration::from_millis(20);
/// After a long scan, the next scan waits this many times as long. So scans take about 2 % of a core, however many files there
/// are.
const PAUSE: u32 = 50;
/// The same after a notification: it waits less, because a file changed.
const PAUSE_AFTER_CHANGE: u32 = 5;
/// The longest wait between two scans.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// While the pod ends, Loki accepts nothing if it does not answer for this long.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// Watches the directory. Without notifications only the poll finds changes.
pub(super) fn watch(dir: &std::path::Path, wake: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if may_be_a_change(&event) {
            wake.notify_one();
        }
    })
    .and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "no notifications of changes, scanning every {POLL:?}")).ok()
}

/// Opening and reading by this process are no changes. An error or an overflow may hide a change.
fn may_be_a_change(event: &notify::Result<notify::Event>) -> bool {
    event.as_ref().map_or(true, |event| event.need_rescan() || !event.kind.is_access())
}

/// Reads files into batches.
pub(super) struct Reader {
    tail: Tail,
    batches: mpsc::Sender<Batch>,
    wake: Arc<Notify>,
    draining: CancellationToken,
    once: bool,
    /// Whether the next start can ship the rest if Loki accepts nothing now.
    may_give_up: bool,
    /// Cancelled once Redis has ended while lines wait for a Loki that accepts nothing.
    given_up: CancellationToken,
    /// Cancelled once all lines are handed over.
    finished: CancellationToken,
    /// Set once the process got SIGTERM.
    ending: Option<Ending>,
    /// The streams that Loki refuses.
    aside: Aside,
    clock: WallClock,
    metrics: Metrics,
    status: SharedStatus,
    /// Why the last scan of the directory failed. Each error is logged once.
    failed: Option<String>,
    /// The log directory.
    dir: PathBuf,
    /// How often lines were lost, and how many entries were skipped for their age, by the last scan.
    losses: u64,
    skipped: u64,
    /// How near the deletion of unacknowledged lines was at the last scan.
    urgency: usize,
    /// How long the last scan took.
    cost: Duration,
    /// Settings that changed.
    adjustments: Option<watch::Receiver<Option<Adjustment>>>,
}

impl Reader {
    /// Reads `tail` into `batches`. Scans the directory on `wake` and at intervals.
    pub(super) fn new(
        tail: Tail,
        batches: mpsc::Sender<Batch>,
        wake: Arc<Notify>,
        draining: CancellationToken,
        aside: Aside,
        metrics: Metrics,
        status: SharedStatus,
    ) -> Self {
        let dir = tail.dir().to_owned();
        Self {
            tail,
            batches,
            wake,
            draining,
            once: false,
            may_give_up: false,
            given_up: CancellationToken::new(),
            finished: CancellationToken::new(),
            ending: None,
            aside,
            clock: WallClock::default(),
            metrics,
            status,
            failed: None,
            dir,
            losses: 0,
            skipped: 0,
            urgency: 0,
            cost: Duration::ZERO,
            adjustments: None,
        }
    }

    /// Sets whether to end at the end of the files.
    pub(super) fn once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    /// Sets whether to give up if Redis has ended and Loki accepts nothing.
    pub(super) fn may_give_up(self, may_give_up: bool) -> Self {
        Self { may_give_up, ..self }
    }

    /// Sets where changes of the settings come from.
    pub(super) fn adjusted_by(self, adjustments: watch::Receiver<Option<Adjustment>>) -> Self {
        Self { adjustments: Some(adjustments), ..self }
    }

    /// Cancelled once Redis has ended while lines wait for a Loki that accepts nothing.
    pub(super) fn given_up(&self) -> CancellationToken {
        self.given_up.clone()
    }

    /// Cancelled once all lines are handed over.
    pub(super) fn finished(&self) -> CancellationToken {
        self.finished.clone()
    }

    /// Reads until the last line is handed over, or the pusher accepts no more.
    pub(super) async fn run(mut self) {
        self.read().await;
        self.status.dropped(self.tail.dropped());
        self.finished.cancel();
    }

    async fn read(&mut self) {
        let mut scanned_at = Instant::now();
        loop {
            let draining = self.draining.is_cancelled();
            if self.adjust() || scanned_at.elapsed() >= self.poll() {
                self.scan();
                scanned_at = Instant::now();
            }
            self.aside.hold(&mut self.tail);
            let now = self.clock.read(now());
            if (draining || !self.clock.is_in_doubt())
                && let Some(batch) = self.tail.next_batch(now, draining)
            {
                self.status.handed_out(&batch.name, batch.since);
                if !self.hand_over(batch).await {
                    return;
                }
                continue;
            }
            if self.gives_up() || draining && self.tail.is_drained(self.may_give_up) && self.is_complete() {
                return;
            }
            self.rest(scanned_at).await;
            self.scan();
            scanned_at = Instant::now();
        }
    }

    /// Uses settings that have changed. Returns whether any have.
    fn adjust(&mut self) -> bool {
        let changed = self.adjustments.as_mut().filter(|changes| changes.has_changed().unwrap_or(false));
        let Some(adjustment) = changed.and_then(|changes| changes.borrow_and_update().clone()) else { return false };
        self.tail.adjust(adjustment);
        true
    }

    /// Waits for a place in the channel. Keeps scanning meanwhile, so that no rotation is missed because Loki is slow.
    async fn hand_over(&mut self, batch: Batch) -> bool {
        let (batches, wake) = (self.batches.clone(), self.wake.clone());
        let place = batches.reserve();
        tokio::pin!(place);
        loop {
            tokio::select! {
                biased;
                place = &mut place => {
                    let open = place.is_ok();
                    if let Ok(place) = place {
                        place.send(batch);
                    }
                    return open;
                }
                () = tokio::time::sleep(self.poll()) => self.scan(),
                () = settled(&wake, self.settle()) => self.scan(),
            }
            if self.gives_up() {
                return false;
            }
        }
    }

    /// Whether Redis has probably written its last line.
    fn is_complete(&self) -> bool {
        let grew = self.tail.grew_at();
        self.once || self.ending.as_ref().is_some_and(|ending| ending.is_complete(now().instant, grew))
    }

    /// Gives up if Redis has ended and Loki accepts nothing: the rest is safe in its files, so the pod need not wait.
    fn gives_up(&self) -> bool {
        let gives_up = self.may_give_up
            && self.ending.is_some()
            && self.status.is_away(now().instant, SILENCE)
            && self.is_complete();
        if gives_up {
            self.given_up.cancel();
        }
        gives_up
    }

    /// Waits until a file changes, a batch is due, or the next scan is due.
    async fn rest(&mut self, scanned_at: Instant) {
        let draining = self.draining.is_cancelled();
        let poll = scanned_at + self.poll();
        // While the clock is in doubt, no batch is handed out, even if it is overdue.
        let due = self.tail.next_due().filter(|_| draining || !self.clock.is_in_doubt());
        let complete = self.ending.as_ref().map(|ending| ending.complete_at(self.tail.grew_at()));
        let complete = complete.filter(|at| *at > now().instant);
        let until = [due, complete]
            .into_iter()
            .flatten()
            .fold(poll, |until, at| until.min(at.into()))
            .max(Instant::now() + SETTLE / 4);
        tokio::select! {
            () = settled(&self.wake, self.settle()) => {}
            () = tokio::time::sleep_until(until) => {}
            () = self.draining.cancelled(), if !draining => {}
        }
    }

    /// The interval between two scans without a notification.
    fn poll(&self) -> Duration {
        if self.draining.is_cancelled() {
            return POLL;
        }
        POLL.max((self.cost * PAUSE).min(LONGEST_PAUSE))
    }

    /// How long notifications are collected.
    fn settle(&self) -> Duration {
        SETTLE.max((self.cost * PAUSE_AFTER_CHANGE).min(LONGEST_PAUSE))
    }

    fn scan(&mut self) {
        let began = Instant::now();
        self.scan_now();
        self.cost = began.elapsed();
    }

    fn scan_now(&mut self) {
        let now = self.clock.read(now());
        if self.draining.is_cancelled() && !self.once {
            let ports = listening_ports();
            self.ending.get_or_insert_with(|| Ending::begin(now.instant, &ports)).update(now.instant, &ports);
        }
        let failed = self.tail.scan(now).err().map(|error| error.to_string());
        if self.failed != failed {
            self.report_scan(failed);
        }
        let files = self.tail.files();
        let unread = files.iter().map(|file| file.unread).sum();
        self.status.files(files, now.instant);
        self.status.dropped(self.tail.dropped());
        self.metrics.unread(unread, self.status.oldest_unacknowledged(now.instant));
        self.report_losses(now.instant);
        self.warn_before_loss(now.instant);
    }

    /// Reports a new reason why the directory cannot be scanned, or that it can be scanned again.
    fn report_scan(&mut self, failed: Option<String>) {
        let code = Code::NoLogDirectory.as_str();
        if let Some(error) = &failed {
            tracing::warn!(code, error, "failed to scan the log directory, retrying");
        } else {
            tracing::info!(code, "the log directory can be scanned again");
        }
        let finding = failed.as_deref().map(|error| findings::unreadable_directory(&self.dir, error));
        self.status.condition(Condition::LogDirectory, finding);
        self.failed = failed;
    }

    /// Reports lines that were lost or skipped since the last scan. The tail logs each file.
    fn report_losses(&mut self, now: std::time::Instant) {
        let (losses, skipped) = (self.metrics.losses(), self.metrics.skipped_old());
        if std::mem::replace(&mut self.losses, losses) < losses {
            self.status.event(findings::lines_lost(), now);
        }
        if std::mem::replace(&mut self.skipped, skipped) < skipped {
            self.status.event(findings::too_old_to_push(), now);
        }
    }

    /// Warns when unacknowledged lines will be deleted soon, and again when they will be deleted very soon.
    fn warn_before_loss(&mut self, now: std::time::Instant) {
        let nearest = self.status.until_loss(now);
        let is_near = nearest.is_some();
        let urgency = urgency(nearest.as_ref().map(|(_, left)| *left));
        if let Some((file, left)) = nearest.filter(|_| urgency > self.urgency) {
            let (code, file, seconds) = (Code::LossAhead.as_str(), &*file, left.as_secs());
            tracing::warn!(code, file, seconds, "log rotation will delete lines that Loki has not acknowledged");
        }
        // A warning is not repeated while the estimate wavers.
        self.urgency = if is_near { urgency.max(self.urgency) } else { 0 };
    }
}

/// The current time, from the clock of the pipeline's timers.
fn now() -> Now {
    Now { instant: Instant::now().into_std(), ..Now::read() }
}

async fn settled(wake: &Notify, settle: Duration) {
    wake.notified().await;
    tokio::time::sleep(settle).await;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use globset::Glob;
    use notify::event::{AccessKind, CreateKind, EventKind, Flag};
    use notify::{Error, Event};

    use super::*;
    use crate::discover::Discovery;
    use crate::state::Record;
    use crate::tail::TailSettings;

    const LINE: &str = "2026-02-20 22:31:07,000 INFO x\n";

    /// A reader of a directory on a paused clock, and its batches. Only `wake` notifies it.
    struct Reading {
        dir: tempfile::TempDir,
        wake: Arc<Notify>,
        batches: mpsc::Receiver<Batch>,
    }

    impl Reading {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings = TailSettings { max_age: Duration::MAX, ..TailSettings::default() };
            let discovery = Discovery::new(dir.path().to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
            let tail = Tail::resume(discovery, settings, &Record::new(), Metrics::default(), now()).unwrap();
            let (wake, (sender, batches)) = (Arc::new(Notify::new()), mpsc::channel(1));
            let (draining, aside) = (CancellationToken::new(), Aside::default());
            let reader =
                Reader::new(tail, sender, wake.clone(), draining, aside, Metrics::default(), SharedStatus::default());
            tokio::spawn(reader.run());
            Self { dir, wake, batches }
        }

        /// How long it takes to hand over entries of the lines that were just written.
        async fn delay(&mut self) -> Duration {
            let start = Instant::now();
            while self.batches.recv().await.unwrap().entries == 0 {}
            start.elapsed()
        }
    }

    fn append(dir: &Path, text: &str) {
        use std::io::Write as _;
        let file = std::fs::File::options().create(true).append(true).open(dir.join("a.log"));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn reports_a_directory_that_cannot_be_scanned_and_lines_that_were_lost() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let discovery = Discovery::new(logs.clone(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
        let metrics = Metrics::default();
        let tail = Tail::resume(discovery, TailSettings::default(), &Record::new(), metrics.clone(), now()).unwrap();
        let (status, (sender, _batches)) = (SharedStatus::default(), mpsc::channel(1));
        let (wake, draining) = (Arc::new(Notify::new()), CancellationToken::new());
        let mut reader = Reader::new(tail, sender, wake, draining, Aside::default(), metrics.clone(), status.clone());
        let mut codes = || {
            reader.scan();
            status.findings(now().instant).into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(), []);
        std::fs::remove_dir(&logs).unwrap();
        assert_eq!(codes(), [Code::NoLogDirectory]);
        std::fs::create_dir(&logs).unwrap();
        assert_eq!(codes(), []);
        metrics.lost(crate::metrics::Lost::Truncated, 9);
        assert_eq!(codes(), [Code::LinesLost]);
    }

    #[tokio::test(start_paused = true)]
    async fn finds_a_new_file_within_a_second_without_a_notification() {
        let mut reading = Reading::start();
        tokio::time::sleep(Duration::from_mins(1)).await;
        append(reading.dir.path(), &LINE.repeat(2));
        let delay = reading.delay().await;
        assert!(delay <= Duration::from_secs(1), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn hands_over_a_line_at_once_after_a_notification_however_long_it_was_idle() {
        let mut reading = Reading::start();
        append(reading.dir.path(), LINE);
        reading.delay().await;
        for idle in [60, 3600] {
            tokio::time::sleep(Duration::from_secs(idle) + POLL / 3).await;
            append(reading.dir.path(), LINE);
            reading.wake.notify_one();
            let delay = reading.delay().await;
            assert!(delay < Duration::from_millis(300), "{delay:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sees_a_rotation_while_what_it_has_read_waits_to_be_pushed() {
        let mut reading = Reading::start();
        // The channel is full and the next batch waits, while files appear and are deleted.
        for number in 0..4 {
            append(reading.dir.path(), &format!("2026-02-20 22:31:07,000 INFO {number}\n"));
            tokio::time::sleep(3 * POLL).await;
            std::fs::remove_file(reading.dir.path().join("a.log")).unwrap();
        }
        let mut entries = 0;
        while let Ok(batch) = tokio::time::timeout(Duration::from_mins(2), reading.batches.recv()).await {
            entries += batch.unwrap().entries;
        }
        assert_eq!(entries, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn warns_once_each_that_lines_will_be_deleted_soon_and_very_soon() {
        let (log, mut reading) = (testing::Log::default(), Reading::start());
        let _guard = log.listen();
        append(reading.dir.path(), LINE);
        let file = std::fs::File::options().append(true).open(reading.dir.path().join("a.log")).unwrap();
        // Rotation will delete it a week after its last write: in four hours.
        let almost_a_week = Duration::from_hours(7 * 24 - 4);
        file.set_modified(std::time::SystemTime::now() - almost_a_week).unwrap();
        let warnings = async |hours: u64| {
            tokio::time::sleep(Duration::from_hours(hours)).await;
            log.take().matches("log rotation will delete lines").count()
        };
        assert_eq!([warnings(1).await, warnings(2).await, warnings(1).await], [0, 1, 1]);
        // The entry is handed over.
        reading.delay().await;
        assert_eq!(warnings(1).await, 0);
    }

    /// It waits for notifications, however long they take.
    #[tokio::test]
    async fn is_notified_of_changes_in_the_directory() {
        let (dir, wake) = (tempfile::tempdir().unwrap(), Arc::new(Notify::new()));
        let _watcher = watch(dir.path(), wake.clone()).unwrap();
        let path = dir.path().join("a.log");
        let notified = || async { tokio::time::timeout(Duration::from_mins(1), wake.notified()).await.unwrap() };
        append(dir.path(), LINE);
        notified().await;
        append(dir.path(), LINE);
        notified().await;
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        notified().await;
    }

    #[test]
    fn scans_after_a_notification_and_after_a_lost_one() {
        let of = |kind| Ok(Event::new(kind));
        assert!(may_be_a_change(&of(EventKind::Create(CreateKind::File))));
        assert!(may_be_a_change(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(may_be_a_change(&Err(Error::generic("the queue is full"))));
        assert!(!may_be_a_change(&of(EventKind::Access(AccessKind::Any))));
    }

    #[test]
    fn works_without_notifications() {
        let dir = tempfile::tempdir().unwrap();
        assert!(watch(&dir.path().join("nowhere"), Arc::new(Notify::new())).is_none());
    }
}
