//! The wiring: one task reads, one pushes, and a bounded channel between them makes the files the buffer.
//!
//! The ending goes downstream: the reader stops and drops its end of the channel, the pusher delivers what is left, and
//! the positions are saved last. One deadline covers it all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use notify::{RecursiveMode, Watcher as _};
use prometheus_client::registry::Registry;
use runtime::admin::{self as admin_port, Readiness};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, SharedStatus};
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::position::{Record, Store};
use crate::push::{Delivery, Loki};
use crate::settings::Settings;
use crate::tail::{Now, Tail};

/// Batches that wait for the one that is being pushed: one, so that reading and pushing overlap.
const WAITING_BATCHES: usize = 1;
/// How often the directory is looked at where no notification comes.
const POLL: Duration = Duration::from_millis(500);
/// Notifications within this time are one: a busy log file changes thousands of times a second.
const SETTLE: Duration = Duration::from_millis(20);
/// Acknowledged positions are on disk after this time at the latest.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// On the way out, files that were quiet this long are taken to be complete.
const DRAINED: Duration = Duration::from_secs(2);

/// A shipper that knows its files and is ready to run.
#[derive(Debug)]
pub struct Shipper {
    tail: Tail,
    loki: Loki,
    positions: Positions,
    metrics: Metrics,
    status: SharedStatus,
    admin: Option<(tokio::net::TcpListener, axum::Router)>,
    readiness: Readiness,
    drain_timeout: Duration,
    once: bool,
    dir: std::path::PathBuf,
}

impl Shipper {
    /// Opens the files where they were left, and the admin port. Nothing is pushed yet.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (status, readiness) = (SharedStatus::default(), Readiness::default());
        let admin = match settings.listen {
            // A port that is taken costs the metrics, not the logs.
            Some(address) => tokio::net::TcpListener::bind(address)
                .await
                .inspect_err(|error| tracing::error!(%address, %error, "no admin port"))
                .ok()
                .map(|listener| {
                    let routes = admin_port::routes(readiness.clone(), Arc::new(registry));
                    (listener, routes.merge(admin::routes(status.clone())))
                }),
            None => None,
        };
        if let Some(dir) = &settings.state_dir
            && let Err(error) = std::fs::create_dir_all(dir)
        {
            tracing::error!(dir = %dir.display(), %error, "positions cannot be kept");
        }
        let store = Store::new(settings.state_dir);
        let (record, errors) = store.load();
        for error in errors {
            tracing::error!(error = &error as &dyn std::error::Error, "positions are damaged");
            metrics.position_error();
        }
        let dir = settings.discovery.dir().to_owned();
        let tail = Tail::resume(settings.discovery, settings.tail, &record, metrics.clone(), Now::read())
            .with_context(|| format!("failed to read the log directory {}", dir.display()))?;
        let mut positions =
            Positions { store, record, dirty: true, saved_at: Instant::now(), metrics: metrics.clone() };
        positions.record.extend(tail.record());
        positions.save().await;
        tracing::info!(
            dir = %dir.display(),
            url = %settings.push.url,
            listen = ?admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok()),
            "shipping"
        );
        Ok(Self {
            tail,
            loki: Loki::new(settings.push),
            positions,
            metrics,
            status,
            admin,
            readiness,
            drain_timeout: settings.drain_timeout,
            once: settings.once,
            dir,
        })
    }

    /// How the files stand; stays up to date while the shipper runs.
    pub fn status(&self) -> SharedStatus {
        self.status.clone()
    }

    /// Ships until `shutdown`, then what is left, within the drain timeout.
    pub async fn run(self, shutdown: CancellationToken) {
        let (batches, incoming) = mpsc::channel(WAITING_BATCHES);
        let wake = Arc::new(Notify::new());
        // Kept for as long as the tasks run; dropping it ends the notifications.
        let _watcher = watch(&self.dir, wake.clone());
        self.readiness.set(true);
        let admin = match self.admin {
            Some((listener, routes)) => tokio::spawn(admin_port::serve(listener, routes, shutdown.clone())),
            None => tokio::spawn(async {}),
        };
        let draining = if self.once { CancellationToken::new() } else { shutdown.clone() };
        if self.once {
            draining.cancel();
        }
        let deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(self.drain_timeout).await;
        };
        let reader = Reader {
            tail: self.tail,
            batches,
            wake,
            draining,
            once: self.once,
            metrics: self.metrics.clone(),
            status: self.status.clone(),
        };
        let mut pusher =
            Pusher { loki: self.loki, positions: self.positions, metrics: self.metrics, status: self.status };
        tokio::select! {
            ((), ()) = async { tokio::join!(reader.run(), pusher.run(incoming)) } => {}
            () = deadline => tracing::warn!("the drain timeout is over; what is left is shipped after the next start"),
        }
        pusher.positions.save().await;
        self.readiness.set(false);
        if !shutdown.is_cancelled() {
            admin.abort();
        }
        tracing::info!("ended");
    }
}

/// Watches the directory; without notifications the poll alone finds what changed.
fn watch(dir: &std::path::Path, wake: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own opening and reading is no change; an error (an overflow, say) may hide one.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            wake.notify_one();
        }
    })
    .and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "no notifications of changes, looking every {POLL:?}")).ok()
}

/// Reads files into batches.
struct Reader {
    tail: Tail,
    batches: mpsc::Sender<Batch>,
    wake: Arc<Notify>,
    draining: CancellationToken,
    once: bool,
    metrics: Metrics,
    status: SharedStatus,
}

impl Reader {
    async fn run(mut self) {
        let (mut looked, mut busy) = (Instant::now(), Instant::now());
        loop {
            let draining = self.draining.is_cancelled();
            if looked.elapsed() >= POLL {
                self.look();
                looked = Instant::now();
            }
            if let Some(batch) = self.tail.next_batch(Now::read(), draining) {
                busy = Instant::now();
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
    async fn rest(&self, looked: Instant) {
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
        self.metrics.unread(files.iter().map(|file| file.unread).sum());
        self.status.files(&files);
    }
}

async fn settled(wake: &Notify) {
    wake.notified().await;
    tokio::time::sleep(SETTLE).await;
}

/// Pushes batches and keeps the positions.
struct Pusher {
    loki: Loki,
    positions: Positions,
    metrics: Metrics,
    status: SharedStatus,
}

impl Pusher {
    async fn run(&mut self, mut incoming: mpsc::Receiver<Batch>) {
        loop {
            let batch = tokio::select! {
                batch = incoming.recv() => batch,
                () = self.positions.due() => {
                    self.positions.save().await;
                    continue;
                }
            };
            let Some(mut batch) = batch else { return };
            if let Some(before) = batch.before.take() {
                self.positions.set(&batch.name, before);
                self.positions.save().await;
            }
            if !batch.body.is_empty() {
                self.deliver(&batch).await;
            }
            self.positions.set(&batch.name, batch.after);
            if self.positions.saved_at.elapsed() >= SAVE_INTERVAL {
                self.positions.save().await;
            }
        }
    }

    async fn deliver(&mut self, batch: &Batch) {
        let (metrics, status) = (self.metrics.clone(), self.status.clone());
        let mut push = std::pin::pin!(self.loki.push(&batch.body, |trouble| {
            metrics.failed(trouble);
            status.trouble(trouble.reason());
        }));
        // While Loki does not answer, what it acknowledged before still gets to disk.
        let delivery = loop {
            tokio::select! {
                delivery = &mut push => break delivery,
                () = self.positions.due() => self.positions.save().await,
            }
        };
        if delivery == Delivery::StoredExcept {
            self.metrics.rejected();
        }
        self.metrics.pushed(batch.entries, batch.bytes);
        self.status.pushed(batch.entries);
    }
}

/// The record in memory, and when it gets to disk.
#[derive(Debug)]
struct Positions {
    store: Store,
    record: Record,
    dirty: bool,
    saved_at: Instant,
    metrics: Metrics,
}

impl Positions {
    fn set(&mut self, name: &str, record: crate::position::StreamRecord) {
        self.dirty = true;
        match self.record.get_mut(name) {
            Some(known) => *known = record,
            None => {
                self.record.insert(name.to_owned(), record);
            }
        }
    }

    /// Until there is something to save and it is time to.
    async fn due(&self) {
        if self.dirty {
            tokio::time::sleep_until((self.saved_at + SAVE_INTERVAL).into()).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Saves what is not saved. A full or read-only disk is said and counted; shipping goes on.
    async fn save(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let (store, record) = (self.store.clone(), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&record)).await;
        self.saved_at = Instant::now();
        let error: Box<dyn std::error::Error> = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Box::new(error),
            Err(error) => Box::new(error),
        };
        self.metrics.position_error();
        tracing::error!(error, "positions could not be saved; a restart would ship some lines again");
    }
}
