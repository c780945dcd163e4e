//! The admin port of a shipper. If another process uses the port, the shipper retries, and ships without metrics meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use runtime::admin::{self as admin_port, Readiness};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::status::{self, SharedStatus};

/// The wait before the next attempt to open the port.
const RETRY: Duration = Duration::from_secs(10);

/// Serves metrics, health and status.
#[derive(Debug)]
pub(crate) struct AdminPort {
    listen: Option<SocketAddr>,
    routes: Router,
    metrics: Metrics,
}

impl AdminPort {
    /// Serves `/live`, `/ready`, `/metrics` and `/status`, or nothing if there is no address.
    pub(crate) fn new(
        listen: Option<SocketAddr>,
        readiness: Readiness,
        registry: Arc<Registry>,
        shared: SharedStatus,
        metrics: Metrics,
    ) -> Self {
        let routes = admin_port::routes(readiness.clone(), registry).merge(status::routes(shared, readiness));
        Self { listen, routes, metrics }
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self) {
        let Some(address) = self.listen else { return std::future::pending().await };
        let mut already_logged = false;
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => {
                    self.metrics.admin_port_error();
                    if !std::mem::replace(&mut already_logged, true) {
                        tracing::error!(%address, %error, "no admin port, retrying; shipping goes on without it");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "the admin port is open");
        admin_port::serve(listener, self.routes, CancellationToken::new()).await;
    }
}
