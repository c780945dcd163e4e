//! The reading half: files to batches, woken by notifications and a poll.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aside::Aside;
use super::clock::WallClock;
use super::ending::{Ending, listening_ports};
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::status::{SharedStatus, urgency};
use crate::tail::{Now, Tail};

/// How often the directory is looked at where no notification comes.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Notifications within this time are one: a busy log file changes thousands of times a second.
const SETTLE: Duration = Duration::from_millis(20);
/// Where a look at many files takes long, the next one waits so many times as long: looking takes a few hundredths of a core
/// whatever there is to look at.
const PAUSE: u32 = 50;
/// After a notification it waits for less: somebody has written.
const PAUSE_AFTER_CHANGE: u32 = 5;
/// No look waits longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// On the way out, a Loki that does not answer for so long is away.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// Watches the directory; without notifications the poll alone finds what changed.
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
    watcher.inspect_err(|error| tracing::warn!(%error, "no notifications of changes, looking every {POLL:?}")).ok()
}

/// Our own opening and reading is no change; an error or an overflow may hide one.
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
    /// Whether the next start can ship what Loki does not take now.
    may_give_up: bool,
    /// Cancelled once Redis has ended while lines wait for a Loki that is away.
    given_up: CancellationToken,
    /// Cancelled once everything is handed over.
    finished: CancellationToken,
    /// Set once the process was told to end.
    ending: Option<Ending>,
    /// The streams that Loki refuses.
    aside: Aside,
    clock: WallClock,
    metrics: Metrics,
    status: SharedStatus,
    /// Why the last scan of the directory failed. Each error is logged once.
    failed: Option<String>,
    /// How near the deletion of unacknowledged lines was at the last scan.
    urgency: usize,
    /// How long the last scan took.
    cost: Duration,
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
            urgency: 0,
            cost: Duration::ZERO,
        }
    }

    /// Sets whether to end at the end of the files.
    pub(super) fn once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    /// Sets whether to give up where Redis has ended and Loki is away.
    pub(super) fn may_give_up(self, may_give_up: bool) -> Self {
        Self { may_give_up, ..self }
    }

    /// Cancelled once Redis has ended while lines wait for a Loki that is away.
    pub(super) fn given_up(&self) -> CancellationToken {
        self.given_up.clone()
    }

    /// Cancelled once everything is handed over.
    pub(super) fn finished(&self) -> CancellationToken {
        self.finished.clone()
    }

    /// Reads until every line is handed over that will ever be written, or the pusher takes no more.
    pub(super) async fn run(mut self) {
        self.read().await;
        self.status.dropped(self.tail.dropped());
        self.finished.cancel();
    }

    async fn read(&mut self) {
        let mut looked = Instant::now();
        loop {
            let draining = self.draining.is_cancelled();
            if looked.elapsed() >= self.poll() {
                self.look();
                looked = Instant::now();
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
            self.rest(looked).await;
            self.look();
            looked = Instant::now();
        }
    }

    /// Waits for a place in the channel, and keeps an eye on the directory meanwhile: a rotation must not be missed
    /// because Loki is slow.
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
                () = tokio::time::sleep(self.poll()) => self.look(),
                () = settled(&wake, self.settle()) => self.look(),
            }
            if self.gives_up() {
                return false;
            }
        }
    }

    /// Whether nothing more will be written, as far as can be known.
    fn is_complete(&self) -> bool {
        let grew = self.tail.grew_at();
        self.once || self.ending.as_ref().is_some_and(|ending| ending.is_complete(now().instant, grew))
    }

    /// Gives up where Redis has ended and Loki is away: the rest is as safe where it is, and nobody has to wait for it.
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

    /// Until a file changes, a batch is due, or it is time to look anyway.
    async fn rest(&mut self, looked: Instant) {
        let draining = self.draining.is_cancelled();
        let poll = looked + self.poll();
        // While the clock is in doubt nothing is handed out, however long it is due.
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

    /// How often the directory is looked at without a notification.
    fn poll(&self) -> Duration {
        if self.draining.is_cancelled() {
            return POLL;
        }
        POLL.max((self.cost * PAUSE).min(LONGEST_PAUSE))
    }

    /// How long notifications are gathered.
    fn settle(&self) -> Duration {
        SETTLE.max((self.cost * PAUSE_AFTER_CHANGE).min(LONGEST_PAUSE))
    }

    fn look(&mut self) {
        let began = Instant::now();
        self.look_now();
        self.cost = began.elapsed();
    }

    fn look_now(&mut self) {
        let now = self.clock.read(now());
        if self.draining.is_cancelled() && !self.once {
            let ports = listening_ports();
            self.ending.get_or_insert_with(|| Ending::begin(now.instant, &ports)).look(now.instant, &ports);
        }
        let failed = self.tail.scan(now).err().map(|error| error.to_string());
        if self.failed != failed {
            if let Some(error) = &failed {
                tracing::warn!(error, "failed to scan the log directory, retrying");
            }
            self.failed = failed;
        }
        let files = self.tail.files();
        let unread = files.iter().map(|file| file.unread).sum();
        self.status.files(files, now.instant);
        self.status.dropped(self.tail.dropped());
        self.metrics.unread(unread, self.status.oldest_unacknowledged(now.instant));
        self.warn_before_loss(now.instant);
    }

    /// Says so when unacknowledged lines come near to their deletion, and once more when they are about to be deleted.
    fn warn_before_loss(&mut self, now: std::time::Instant) {
        let nearest = self.status.until_loss(now);
        let is_near = nearest.is_some();
        let urgency = urgency(nearest.as_ref().map(|(_, left)| *left));
        if let Some((file, left)) = nearest.filter(|_| urgency > self.urgency) {
            let (file, seconds) = (&*file, left.as_secs());
            tracing::warn!(file, seconds, "log rotation will delete lines that Loki has not acknowledged");
        }
        // Once said, it is not said again while the rate wavers.
        self.urgency = if is_near { urgency.max(self.urgency) } else { 0 };
    }
}

/// The present, the one that the pipeline's waits go by.
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

    /// A reader of a directory, told of nothing but by `wake`, and what it hands over, on a paused clock.
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

        /// How long it takes until entries of what was written now are handed over.
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
    async fn finds_a_new_file_within_a_second_though_nobody_tells_it() {
        let mut reading = Reading::start();
        tokio::time::sleep(Duration::from_mins(1)).await;
        append(reading.dir.path(), &LINE.repeat(2));
        let delay = reading.delay().await;
        assert!(delay <= Duration::from_secs(1), "{delay:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn hands_over_a_line_after_long_idleness_at_once_where_it_is_told() {
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
        // The place in the channel is taken, the next batch waits for it, and files come and go meanwhile.
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
    async fn says_once_each_that_lines_will_be_deleted_soon_and_very_soon() {
        let (log, mut reading) = (testing::Log::default(), Reading::start());
        let _guard = log.listen();
        append(reading.dir.path(), LINE);
        let file = std::fs::File::options().append(true).open(reading.dir.path().join("a.log")).unwrap();
        // Rotation deletes it a week after its last write, in four hours.
        let almost_a_week = Duration::from_hours(7 * 24 - 4);
        file.set_modified(std::time::SystemTime::now() - almost_a_week).unwrap();
        let warnings = async |hours: u64| {
            tokio::time::sleep(Duration::from_hours(hours)).await;
            log.take().matches("log rotation will delete lines").count()
        };
        assert_eq!([warnings(1).await, warnings(2).await, warnings(1).await], [0, 1, 1]);
        // It is on its way at last.
        reading.delay().await;
        assert_eq!(warnings(1).await, 0);
    }

    /// Nothing says how long it takes, but that it comes.
    #[tokio::test]
    async fn is_told_of_what_happens_in_the_directory() {
        let (dir, wake) = (tempfile::tempdir().unwrap(), Arc::new(Notify::new()));
        let _watcher = watch(dir.path(), wake.clone()).unwrap();
        let path = dir.path().join("a.log");
        let told = || async { tokio::time::timeout(Duration::from_mins(1), wake.notified()).await.unwrap() };
        append(dir.path(), LINE);
        told().await;
        append(dir.path(), LINE);
        told().await;
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        told().await;
    }

    #[test]
    fn looks_where_a_notification_says_or_may_have_been_lost() {
        let of = |kind| Ok(Event::new(kind));
        assert!(may_be_a_change(&of(EventKind::Create(CreateKind::File))));
        assert!(may_be_a_change(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(may_be_a_change(&Err(Error::generic("the queue is full"))));
        assert!(!may_be_a_change(&of(EventKind::Access(AccessKind::Any))));
    }

    #[test]
    fn does_without_notifications_where_there_are_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(watch(&dir.path().join("nowhere"), Arc::new(Notify::new())).is_none());
    }
}
