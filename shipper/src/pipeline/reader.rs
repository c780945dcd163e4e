//! The reading half: files to batches, woken by notifications and a poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::admin::SharedStatus;
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::tail::{Now, Tail};

/// How often the directory is looked at where no notification comes.
const POLL: Duration = Duration::from_millis(500);
/// Notifications within this time are one: a busy log file changes thousands of times a second.
const SETTLE: Duration = Duration::from_millis(20);
/// On the way out, files that were quiet this long are taken to be complete.
const DRAINED: Duration = Duration::from_secs(2);

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
    pub(super) tail: Tail,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) wake: Arc<Notify>,
    pub(super) draining: CancellationToken,
    pub(super) once: bool,
    pub(super) metrics: Metrics,
    pub(super) status: SharedStatus,
}

impl Reader {
    pub(super) async fn run(mut self) {
        let (mut looked, mut busy) = (Instant::now(), Instant::now());
        loop {
            let draining = self.draining.is_cancelled();
            if looked.elapsed() >= POLL {
                self.look();
                looked = Instant::now();
            }
            if let Some(batch) = self.tail.next_batch(Now::read(), draining) {
                busy = Instant::now();
                self.status.handed_out(&batch.name, batch.since);
                if !self.hand_over(batch).await {
                    return;
                }
                continue;
            }
            if draining && self.tail.is_drained() && (self.once || busy.elapsed() >= DRAINED) {
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
        let batches = self.batches.clone();
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
                () = tokio::time::sleep(POLL) => self.look(),
                () = settled(&self.wake) => self.look(),
            }
        }
    }

    /// Until a file changes, a batch is due, or it is time to look anyway.
    async fn rest(&mut self, looked: Instant) {
        let draining = self.draining.is_cancelled();
        let poll = looked + POLL;
        let until = self.tail.next_due().map_or(poll, |due| due.min(poll)).max(Instant::now() + SETTLE / 4);
        tokio::select! {
            () = settled(&self.wake) => {}
            () = tokio::time::sleep_until(until.into()) => {}
            () = self.draining.cancelled(), if !draining => {}
        }
    }

    fn look(&mut self) {
        if let Err(error) = self.tail.scan(Now::read()) {
            tracing::warn!(%error, "failed to look at the log directory, trying again");
        }
        let files = self.tail.files();
        let unread = files.iter().map(|file| file.unread).sum();
        self.status.files(files);
        self.metrics.unread(unread, self.status.oldest_unacknowledged(Instant::now()));
    }
}

async fn settled(wake: &Notify) {
    wake.notified().await;
    tokio::time::sleep(SETTLE).await;
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, EventKind, Flag};
    use notify::{Error, Event};

    use super::*;

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
