//! The wiring: one task reads, one pushes, and a bounded channel between them makes the files the buffer.
//!
//! The ending goes downstream: the reader stops and drops its end of the channel, the pusher delivers what is left, and
//! the positions are saved last. One deadline covers it all.

mod positions;
mod pusher;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use runtime::admin::{self as admin_port, Readiness};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, SharedStatus};
use crate::metrics::Metrics;
use crate::push::Loki;
use crate::settings::Settings;
use crate::tail::{Now, Tail};
use positions::Positions;
use pusher::Pusher;
use reader::{Reader, watch};

/// Batches that wait for the one that is being pushed: one, so that reading and pushing overlap.
const WAITING_BATCHES: usize = 1;

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
        let mut positions = Positions::load(settings.state_dir, metrics.clone());
        let dir = settings.discovery.dir().to_owned();
        let tail = Tail::resume(settings.discovery, settings.tail, positions.record(), metrics.clone(), Now::read())
            .with_context(|| format!("failed to read the log directory {}", dir.display()))?;
        let metadata = tail.metadata_switch();
        positions.extend(tail.record());
        positions.save().await;
        tracing::info!(
            dir = %dir.display(),
            url = %settings.push.url,
            listen = ?admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok()),
            "shipping"
        );
        Ok(Self {
            tail,
            loki: Loki::new(settings.push, metadata),
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
