//! The status of every file, why a push waits, and the findings that hold: for `/status` and for metrics.

mod answer;
mod deadline;
pub mod file_metrics;
pub mod finding_metrics;
pub(crate) mod findings;
mod shared;

use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use runtime::admin::Readiness;

pub use answer::{FileStatus, FindingStatus, LastError, RuntimeConfigStatus, Status, TroubleStatus};
pub(crate) use deadline::urgency;
pub(crate) use findings::Condition;
pub use shared::SharedStatus;

/// The shipper's own route.
pub fn routes(status: SharedStatus, readiness: Readiness) -> Router {
    let answer = async |State((status, readiness)): State<(SharedStatus, Readiness)>| {
        axum::Json(Status { ready: readiness.get(), ..status.get(Instant::now()) })
    };
    Router::new().route("/status", get(answer)).with_state((status, readiness))
}
