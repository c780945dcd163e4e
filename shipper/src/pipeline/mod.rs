//! The wiring: one task reads, one task pushes. The bounded channel between them makes the files the buffer.
//!
//! The end runs downstream: the reader stops and drops its end of the channel, the pusher delivers the rest, and the positions
//! are saved last. One deadline covers it all.

mod aside;
mod clock;
mod complete;
mod ending;
mod opening;
mod pool;
mod positions;
mod pusher;
mod reader;
mod reload;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use runtime::admin::Readiness;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::AdminPort;
use crate::metrics::Metrics;
use crate::push::{Loki, shown_url};
use crate::settings::Settings;
use crate::status::SharedStatus;
use crate::status::file_metrics::FileMetrics;
use crate::status::finding_metrics::FindingMetrics;
use crate::tally::Tally;
use aside::Aside;
pub(crate) use complete::Complete;
use ending::outlives_us;
pub use opening::OpenError;
use opening::Opened;
use pusher::Pusher;
use reader::{POLL, Reader, SILENCE, watch};
pub(crate) use reload::apply_runtime_config;
use reload::{Changes, Reload};

/// How much of the drain timeout is kept for the last save of the positions; a tenth of a short timeout.
const LAST_SAVE: Duration = Duration::from_secs(2);

/// A shipper that is ready to run.
#[derive(Debug)]
pub struct Shipper {
    settings: Settings,
    report: Report,
    admin: AdminPort,
    reload: Option<Reload>,
    opened: Result<Opened, OpenError>,
}

/// Where the tasks report what they do.
#[derive(Clone, Debug)]
struct Report {
    metrics: Metrics,
    status: SharedStatus,
    readiness: Readiness,
    tally: Tally,
}

impl Shipper {
    /// Opens the files at their positions, if the files are there. Pushes nothing yet.
    pub async fn start(mut settings: Settings) -> Self {
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
        FindingMetrics::register(&mut registry, status.clone());
        let admin =
            AdminPort::new(settings.listen, readiness.clone(), Arc::new(registry), status.clone(), metrics.clone());
        let report = Report { metrics, status, readiness, tally: Tally::default() };
        let mut reload = Reload::new(&settings, report.metrics.clone(), report.status.clone());
        if let Some(reload) = &mut reload {
            reload.apply(&mut settings).await;
        }
        let opened = opening::open(&settings, &report.metrics, &report.status).await;
        Self { settings, report, admin, reload, opened }
    }

    /// The status of the files. It stays up to date while the shipper runs.
    pub fn status(&self) -> SharedStatus {
        self.report.status.clone()
    }

    /// What comes of shipping.
    pub(crate) fn tally(&self) -> Tally {
        self.report.tally.clone()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> Metrics {
        self.report.metrics.clone()
    }

    /// Ships until `shutdown`, then ships the rest within the drain timeout.
    ///
    /// Waits until everything can be opened. With `once`, it fails instead.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), OpenError> {
        let Self { settings, report, admin, reload, opened } = self;
        let mut beside = JoinSet::new();
        beside.spawn(admin.serve());
        let opened = match opened {
            Ok(opened) => Some(opened),
            Err(error) if settings.once => return Err(error),
            Err(error) => {
                let waiting = opening::wait(error, &settings, &report.metrics, &report.status);
                shutdown.run_until_cancelled(waiting).await
            }
        };
        if let Some(opened) = opened {
            report.readiness.set(true);
            Box::pin(ship(settings, &report, opened, reload, &shutdown)).await;
            report.readiness.set(false);
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// Ships until the reader and the pusher are done, or the drain timeout is over. Then saves the positions a last time.
async fn ship(
    settings: Settings,
    report: &Report,
    opened: Opened,
    reload: Option<Reload>,
    shutdown: &CancellationToken,
) {
    let Opened { mut tail, positions } = opened;
    report.tally.begin(tail.files().iter().map(|file| file.unread).sum());
    log_start(&settings);
    let Settings { discovery, push, drain_timeout, once, state_dir, .. } = settings;
    let Report { metrics, status, .. } = report;
    let wake = Arc::new(Notify::new());
    // Dropping the watcher ends the notifications.
    let _watcher = watch(discovery.dir(), wake.clone());

    let draining = if once { CancellationToken::new() } else { shutdown.clone() };
    if once {
        draining.cancel();
    }
    let may_give_up = !once && outlives_us(state_dir.as_deref(), discovery.dir());
    let (aside, (batches, incoming)) = (Aside::default(), mpsc::channel(pool::WAITING_BATCHES));
    let loki = Loki::new(push, tail.metadata_switch());
    let (adjust, adjustments) = tokio::sync::watch::channel(None);
    let changes = Changes { tail: adjust, rate_limit: loki.rate_limit(), wake: wake.clone() };
    // Dropping the set ends what is in it.
    let mut beside = JoinSet::new();
    if let Some(reload) = reload.filter(|_| !once) {
        beside.spawn(reload.run(changes));
    }
    let reader = Reader::new(tail, batches, wake, draining, aside.clone(), metrics.clone(), status.clone())
        .once(once)
        .may_give_up(may_give_up)
        .adjusted_by(adjustments);
    let mut pusher =
        Pusher::new(loki, positions, aside, metrics.clone(), status.clone()).with_tally(report.tally.clone());

    let (given_up, finished) = (reader.given_up(), reader.finished());
    let saving = LAST_SAVE.min(drain_timeout / 10);
    tokio::select! {
        ((), ()) = async { tokio::join!(reader.run(), pusher.run(incoming)) } => report.tally.complete(),
        () = loki_is_away(&given_up, &finished, may_give_up, status) => {
            tracing::warn!("Loki accepts nothing, and Redis has ended; the next start ships the rest");
        }
        () = after_shutdown(shutdown, drain_timeout.saturating_sub(saving)) => {
            tracing::warn!("the drain timeout is over; the next start ships the rest");
        }
    }
    tokio::select! {
        () = pusher.save_positions() => {}
        () = after_shutdown(shutdown, saving) => {
            tracing::error!("the disk did not take the last positions in time; a restart ships some lines again");
        }
    }
}

fn log_start(settings: &Settings) {
    for rule in &settings.tail.drop {
        tracing::info!(rule = rule.text, "entries that match this rule are dropped on purpose");
    }
    tracing::info!(
        dir = %settings.discovery.dir().display(),
        url = shown_url(&settings.push.url.to_string()),
        buffers = %bytesize::ByteSize(pool::bytes(&settings.tail) as u64),
        "shipping"
    );
}

/// Completes once the rest can wait for the next start: the reader gives up, or it has handed over everything and Loki is
/// unreachable.
async fn loki_is_away(
    given_up: &CancellationToken,
    finished: &CancellationToken,
    may_give_up: bool,
    status: &SharedStatus,
) {
    tokio::select! {
        () = given_up.cancelled() => {}
        () = finished.cancelled(), if may_give_up => status.away(SILENCE, POLL).await,
    }
}

/// Completes `time` after `shutdown`.
async fn after_shutdown(shutdown: &CancellationToken, time: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(time).await;
}
