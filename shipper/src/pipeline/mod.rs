//! The wiring: one task reads, one pushes, and a bounded channel between them makes the files the buffer.
//!
//! The ending goes downstream: the reader stops and drops its end of the channel, the pusher delivers what is left, and
//! the positions are saved last. One deadline covers it all.

mod admin_port;
mod aside;
mod clock;
mod ending;
mod opening;
mod pool;
mod positions;
mod pusher;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use runtime::admin::Readiness;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::SharedStatus;
use crate::file_metrics::FileMetrics;
use crate::metrics::Metrics;
use crate::push::{Loki, shown_url};
use crate::settings::Settings;
pub(crate) use admin_port::AdminPort;
use aside::Aside;
use clock::WallClock;
use ending::outlives_us;
pub use opening::OpenError;
use opening::{Opened, Opening};
use pusher::Pusher;
use reader::{POLL, Reader, SILENCE, watch};

/// Batches that wait for the one that is being pushed: one, so that reading and pushing overlap.
pub(crate) const WAITING_BATCHES: usize = 1;

/// How much of the drain timeout is kept for the last positions; a tenth of a short one.
const LAST_SAVE: Duration = Duration::from_secs(2);

/// A shipper that is ready to run.
#[derive(Debug)]
pub struct Shipper {
    settings: Settings,
    opening: Opening,
    opened: Result<Opened, OpenError>,
    admin: AdminPort,
    metrics: Metrics,
    status: SharedStatus,
    readiness: Readiness,
}

impl Shipper {
    /// Opens the files where they were left, if they are there. Nothing is pushed yet.
    pub async fn start(settings: Settings) -> Self {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        for note in &settings.notes {
            tracing::info!("{note}");
        }
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (status, readiness) = (SharedStatus::default(), Readiness::default());
        FileMetrics::register(&mut registry, status.clone());
        let admin =
            AdminPort::new(settings.listen, readiness.clone(), Arc::new(registry), status.clone(), metrics.clone());
        let opening = Opening {
            discovery: settings.discovery.clone(),
            tail: settings.tail.clone(),
            state_dir: settings.state_dir.clone(),
            state_fallback_dir: settings.state_fallback_dir.clone(),
            metrics: metrics.clone(),
            status: status.clone(),
        };
        let opened = opening.attempt().await;
        Self { settings, opening, opened, admin, metrics, status, readiness }
    }

    /// How the files stand; stays up to date while the shipper runs.
    pub fn status(&self) -> SharedStatus {
        self.status.clone()
    }

    /// Ships until `shutdown`, then what is left, within the drain timeout.
    ///
    /// What cannot be opened is waited for; to ship once, it must be there.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), OpenError> {
        let mut aside = JoinSet::new();
        aside.spawn(self.admin.serve());
        let opened = match self.opened {
            Ok(opened) => Some(opened),
            Err(error) if self.settings.once => return Err(error),
            Err(error) => shutdown.run_until_cancelled(self.opening.wait(error)).await,
        };
        if let Some(opened) = opened {
            let shipping = Shipping {
                settings: self.settings,
                metrics: self.metrics,
                status: self.status,
                readiness: self.readiness.clone(),
            };
            Box::pin(shipping.run(opened, shutdown)).await;
            self.readiness.set(false);
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// A shipper whose files are open.
struct Shipping {
    settings: Settings,
    metrics: Metrics,
    status: SharedStatus,
    readiness: Readiness,
}

impl Shipping {
    async fn run(self, opened: Opened, shutdown: CancellationToken) {
        let Opened { tail, positions } = opened;
        let Settings { discovery, push, drain_timeout, once, state_dir, .. } = self.settings;
        tracing::info!(
            dir = %discovery.dir().display(),
            url = shown_url(&push.url.to_string()),
            buffers = %bytesize::ByteSize(pool::bytes(&self.settings.tail) as u64),
            "shipping"
        );
        let (batches, incoming) = mpsc::channel(WAITING_BATCHES);
        let wake = Arc::new(Notify::new());
        // Kept for as long as the tasks run; dropping it ends the notifications.
        let _watcher = watch(discovery.dir(), wake.clone());
        self.readiness.set(true);
        let draining = if once { CancellationToken::new() } else { shutdown.clone() };
        if once {
            draining.cancel();
        }
        let saving = LAST_SAVE.min(drain_timeout / 10);
        let after = async |time: Duration| {
            shutdown.cancelled().await;
            tokio::time::sleep(time).await;
        };
        let loki = Loki::new(push, tail.metadata_switch());
        let (metrics, status) = (self.metrics.clone(), self.status.clone());
        let (clock, cost) = (WallClock::default(), Duration::ZERO);
        let (given_up, finished) = (CancellationToken::new(), CancellationToken::new());
        let aside = Aside::default();
        let may_give_up = !once && outlives_us(state_dir.as_deref(), discovery.dir());
        let reader = Reader {
            tail,
            batches,
            wake,
            draining,
            once,
            may_give_up,
            given_up: given_up.clone(),
            finished: finished.clone(),
            ending: None,
            aside: aside.clone(),
            clock,
            metrics,
            status,
            failed: None,
            cost,
        };
        let mut pusher = Pusher {
            loki,
            positions,
            refused: BTreeMap::new(),
            aside,
            metrics: self.metrics,
            status: self.status.clone(),
        };
        // Handed over or not, what Loki does not take now is as safe where it is.
        let loki_is_away = async {
            tokio::select! {
                () = given_up.cancelled() => {}
                () = finished.cancelled(), if may_give_up => self.status.away(SILENCE, POLL).await,
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(reader.run(), pusher.run(incoming)) } => {}
            () = loki_is_away => tracing::warn!("Loki takes nothing now, and Redis has ended; what is left is shipped after the next start"),
            () = after(drain_timeout.saturating_sub(saving)) => tracing::warn!("the drain timeout is over; what is left is shipped after the next start"),
        }
        tokio::select! {
            () = pusher.positions.save() => {}
            () = after(saving) => tracing::error!("the disk did not take the last positions in time; a restart ships some lines again"),
        }
    }
}
