//! The admin port: `/live`, `/ready` and `/metrics`, beside whatever routes the process adds.
//!
//! It never decides anything. Readiness is a latch the process owns: closed at first, opened by whoever knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bounded::Bounded;

/// The content type of the OpenMetrics text that `/metrics` answers with.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process can do its work now. Clones share one state; it starts as *not ready*.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether the process can do its work from here on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// What was said last.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// The routes every process has: `/live` (200 while it runs), `/ready` (200 or 503) and `/metrics`.
pub fn routes(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/live", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { readiness, registry })
}

/// Serves `routes` on `listener` until `shutdown`, so many connections at a time; a failing admin port is logged and never ends the process.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) {
    let ended = axum::serve(Bounded::new(listener), routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = ended {
        tracing::error!(%error, "the admin port ended");
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.readiness.get() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
