//! The webhook's metrics. Every label has only a few values, whatever clients send.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use findings::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::admission::{Answer, Verdict};

/// Labels of `reviews`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    outcome: &'static str,
    dry_run: &'static str,
}

/// Labels of metrics about files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

/// The findings that an audit can make.
const AUDITED: [Code; 13] = [
    Code::PodOlderThanLabel,
    Code::PodWithoutSidecar,
    Code::NoLogMount,
    Code::InvalidAnnotation,
    Code::Drift,
    Code::SteppedAside,
    Code::FuseBlown,
    Code::NoRoom,
    Code::NameTaken,
    Code::SidecarRestarts,
    Code::MayNotPush,
    Code::RoleBindingOnly,
    Code::BindingOfAnotherAccount,
];

/// Labels of metrics about findings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// The webhook's metrics; all names start with `redis_log_webhook_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    reviews: Family<ReviewLabels, Counter<u64, AtomicU64>>,
    refused: Counter,
    panics: Counter,
    duration: Histogram,
    patch: Histogram,
    config_reloads: Family<Result, Counter>,
    config_good: Gauge,
    certificate_good: Gauge,
    certificate_expires: Gauge,
    events_dropped: Counter,
    connections_refused: Counter,
    fuses_blown: Gauge,
    stepped_aside: Gauge,
    findings: Family<CodeLabel, Gauge>,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reviews: Family::default(),
            refused: Counter::default(),
            panics: Counter::default(),
            // 100 µs to about 1.6 s. A review takes a few times the first bucket.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            patch: Histogram::new(exponential_buckets(256.0, 2.0, 10)),
            config_reloads: Family::default(),
            config_good: Gauge::default(),
            certificate_good: Gauge::default(),
            certificate_expires: Gauge::default(),
            events_dropped: Counter::default(),
            connections_refused: Counter::default(),
            fuses_blown: Gauge::default(),
            stepped_aside: Gauge::default(),
            findings: Family::default(),
        };
        metrics.config_good.set(1);
        let r = registry.sub_registry_with_prefix("redis_log_webhook");
        r.register("reviews", "Reviews answered, by outcome", metrics.reviews.clone());
        r.register("refused_requests", "HTTP requests that were not an AdmissionReview", metrics.refused.clone());
        r.register("panics", "Reviews during which the webhook panicked", metrics.panics.clone());
        let help = "Time from the head of the request to the answer";
        r.register_with_unit("review_duration", help, Unit::Seconds, metrics.duration.clone());
        r.register_with_unit("patch", "Size of the patches", Unit::Bytes, metrics.patch.clone());
        r.register("config_reloads", "New contents of the configuration file", metrics.config_reloads.clone());
        r.register("config_good", "1 while the latest configuration file is in use", metrics.config_good.clone());
        let help = "1 while the latest certificate is in use";
        r.register("certificate_good", help, metrics.certificate_good.clone());
        let help = "When the served certificate expires, in seconds since 1970";
        r.register("certificate_expiry_timestamp", help, metrics.certificate_expires.clone());
        r.register("events_dropped", "Kubernetes Events that were not created", metrics.events_dropped.clone());
        let help = "Connections closed because too many were open";
        r.register("connections_refused", help, metrics.connections_refused.clone());
        let help = "Namespaces whose new pods get no log shipper because one there does not start";
        r.register("fuses_blown", help, metrics.fuses_blown.clone());
        let help = "Pods that get no log shipper because they were refused with it";
        r.register("stepped_aside", help, metrics.stepped_aside.clone());
        let help = "Pods or accounts for which a finding holds, from the replica that audits";
        r.register("findings", help, metrics.findings.clone());
        metrics
    }

    pub(crate) fn answered(&self, answer: &Answer, took: Duration) {
        let dry_run = if answer.dry_run { "true" } else { "false" };
        self.reviews.get_or_create(&ReviewLabels { outcome: answer.verdict.outcome(), dry_run }).inc();
        self.duration.observe(took.as_secs_f64());
        if answer.patch_bytes > 0 {
            // A patch is a few KiB; the largest body is 7 MiB.
            self.patch.observe(u32::try_from(answer.patch_bytes).map_or(f64::MAX, f64::from));
        }
        if matches!(answer.verdict, Verdict::Panicked(_)) {
            self.panics.inc();
        }
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn config(&self, good: bool) {
        let result = if good { "taken" } else { "refused" };
        self.config_reloads.get_or_create(&Result { result }).inc();
        self.config_good.set(i64::from(good));
    }

    pub(crate) fn certificate(&self, good: bool, expires: Option<SystemTime>) {
        self.certificate_good.set(i64::from(good));
        let since = expires.and_then(|expires| expires.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.certificate_expires.set(since.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default());
    }

    pub(crate) fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Sets the number of blown fuses, and of pods that are left alone because they were refused.
    pub(crate) fn left_alone(&self, fuses: usize, aside: usize) {
        self.fuses_blown.set(i64::try_from(fuses).unwrap_or(i64::MAX));
        self.stepped_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
    }

    /// Sets for how many pods or accounts each finding holds.
    pub(crate) fn found(&self, counts: &BTreeMap<Code, i64>) {
        for code in AUDITED {
            let count = counts.get(&code).copied().unwrap_or(0);
            self.findings.get_or_create(&CodeLabel { code: code.as_str() }).set(count);
        }
    }

    /// Removes the gauges of findings: another replica has them.
    pub(crate) fn no_findings(&self) {
        self.findings.clear();
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission;
    use crate::config::Config;

    #[test]
    fn counts_a_panic_as_an_outcome_and_separately() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let body = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u-1"}}"#;
        let mut answer = admission::review(body, &Config::default()).unwrap();
        metrics.answered(&answer, Duration::ZERO);
        answer.verdict = Verdict::Panicked("a bug of ours".to_owned());
        metrics.answered(&answer, Duration::ZERO);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "redis_log_webhook_panics_total 1",
            r#"redis_log_webhook_reviews_total{outcome="panicked",dry_run="false"} 1"#,
            r#"redis_log_webhook_reviews_total{outcome="not_a_pod",dry_run="false"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
