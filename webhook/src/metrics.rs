//! What the webhook counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of `reviews`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    outcome: &'static str,
    dry_run: &'static str,
}

/// The webhook's metrics; all names start with `redis_log_webhook_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    reviews: Family<ReviewLabels, Counter<u64, AtomicU64>>,
    refused: Counter,
    duration: Histogram,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reviews: Family::default(),
            refused: Counter::default(),
            // 100 µs to about 1.6 s: a review that is answered takes a fraction of the first bucket.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
        };
        let registry = registry.sub_registry_with_prefix("redis_log_webhook");
        registry.register("reviews", "Reviews answered, by outcome", metrics.reviews.clone());
        registry.register("refused_requests", "HTTP requests that were no AdmissionReview", metrics.refused.clone());
        registry.register(
            "review_duration_seconds",
            "Time from the whole request to the answer",
            metrics.duration.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, outcome: &'static str, dry_run: bool, took: std::time::Duration) {
        let dry_run = if dry_run { "true" } else { "false" };
        self.reviews.get_or_create(&ReviewLabels { outcome, dry_run }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}
