//! The status of every file, and why a push waits: for `/status` and for the metrics of each file.

mod answer;
mod deadline;
pub mod file_metrics;
mod shared;

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use runtime::admin::Readiness;

pub use answer::{FileStatus, LastError, Status, TroubleStatus};
pub(crate) use deadline::urgency;
pub use shared::SharedStatus;

/// The shipper's own route.
pub fn routes(status: SharedStatus, readiness: Readiness) -> Router {
    let answer = async |State((status, readiness)): State<(SharedStatus, Readiness)>| {
        axum::Json(Status { ready: readiness.get(), ..status.get(Instant::now()) })
    };
    Router::new().route("/status", get(answer)).with_state((status, readiness))
}
