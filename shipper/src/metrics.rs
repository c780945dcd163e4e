//! The shipper's metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::discover::LeftOut;
use crate::push::answer::Trouble;
use crate::push::rejections::Rejections;

/// Why bytes were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A truncation removed them, and there is no copy.
    Truncated,
    /// The file was missing when it should have been opened again.
    Missing,
    /// A deleted file was closed, because deleted files took too much disk.
    Shed,
    /// A run of NULs, left by a writer that did not notice a truncation. Nothing was ever written there.
    Zeros,
}

impl Lost {
    fn reason(self) -> Reason {
        Reason {
            reason: match self {
                Self::Truncated => "truncated",
                Self::Missing => "missing",
                Self::Shed => "shed",
                Self::Zeros => "zeros",
            },
        }
    }
}

/// The entries that were handed out or skipped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handed {
    /// Entries.
    pub(crate) entries: u64,
    /// Entries with a line that the length limit cut.
    pub(crate) cut: u64,
    /// Entries with invalid UTF-8.
    pub(crate) replaced: u64,
    /// Entries whose timestamp is too far ahead of the clock.
    pub(crate) disbelieved: u64,
    /// Entries that Loki would reject for their age.
    pub(crate) old: u64,
    /// Entries that a rule drops.
    pub(crate) dropped: u64,
    /// NULs.
    pub(crate) zeros: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadResult {
    result: &'static str,
}

/// The metrics. All names start with `redis_log_shipper_`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    entries: Counter,
    cut_lines: Counter,
    replaced_lines: Counter,
    skipped_old: Counter,
    disbelieved: Counter,
    redactions: Family<Rule, Counter>,
    dropped: Family<Rule, Counter>,
    reopened: Counter,
    left_out: Family<Reason, Gauge>,
    sharing: Gauge,
    lost_files: Family<Reason, Counter>,
    lost_bytes: Family<Reason, Counter>,
    /// How often unread lines were lost for certain. Not registered: it makes a finding.
    losses: Counter,
    pushed_entries: Counter,
    pushed_bytes: Counter,
    rejected: Family<Reason, Counter>,
    failures: Family<Reason, Counter>,
    held: Gauge,
    metadata_refused: Gauge,
    streams_set_aside: Gauge,
    unread_bytes: Gauge,
    oldest_unacknowledged: Gauge<f64, AtomicU64>,
    position_errors: Counter,
    state_fallback: Gauge,
    admin_port_errors: Counter,
    unusable_settings: Gauge,
    runtime_config_reloads: Family<ReloadResult, Counter>,
    runtime_config_good: Gauge,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let r = registry.sub_registry_with_prefix("redis_log_shipper");
        r.register("entries_read", "Entries handed out for pushing", metrics.entries.clone());
        r.register("lines_cut", "Pieces of lines over the length limit", metrics.cut_lines.clone());
        r.register("lines_replaced", "Lines with invalid UTF-8 replaced", metrics.replaced_lines.clone());
        r.register(
            "entries_skipped_old",
            "Entries skipped because Loki rejects their age",
            metrics.skipped_old.clone(),
        );
        r.register(
            "entries_disbelieved",
            "Entries whose timestamp is far ahead of the clock",
            metrics.disbelieved.clone(),
        );
        r.register("redactions", "Secrets replaced in entries", metrics.redactions.clone());
        r.register("entries_dropped", "Entries that a drop rule kept from being pushed", metrics.dropped.clone());
        r.register("files_reopened", "Files opened again because they could not be read", metrics.reopened.clone());
        r.register(
            "files_sharing_a_stream",
            "Log files beyond the streams that are allowed, which share the stream named other",
            metrics.sharing.clone(),
        );
        r.register("files_left_out", "Log files and copies that are not read", metrics.left_out.clone());
        r.register(
            "files_lost",
            "Files or rests of files that could not be read to their end",
            metrics.lost_files.clone(),
        );
        r.register("bytes_lost", "Bytes known to be lost", metrics.lost_bytes.clone());
        r.register("entries_pushed", "Entries acknowledged by Loki", metrics.pushed_entries.clone());
        r.register("bytes_pushed", "Uncompressed bytes acknowledged by Loki", metrics.pushed_bytes.clone());
        r.register("entries_rejected", "Entries that Loki rejected for good", metrics.rejected.clone());
        r.register("push_failures", "Attempts to push that were not acknowledged", metrics.failures.clone());
        r.register("metadata_refused", "1 once Loki has refused structured metadata", metrics.metadata_refused.clone());
        r.register("held", "1 while pushing waits for a permission, a token or a configuration", metrics.held.clone());
        r.register(
            "streams_set_aside",
            "Streams that Loki refuses while others are pushed",
            metrics.streams_set_aside.clone(),
        );
        r.register("unread_bytes", "Bytes in the log files that are not handed out yet", metrics.unread_bytes.clone());
        r.register_with_unit(
            "oldest_unacknowledged",
            "How long the oldest byte waits that Loki has not acknowledged",
            Unit::Seconds,
            metrics.oldest_unacknowledged.clone(),
        );
        r.register(
            "position_errors",
            "Times that positions could not be read or saved",
            metrics.position_errors.clone(),
        );
        r.register(
            "state_fallback",
            "1 while positions are kept in the fallback directory, which ends with the pod",
            metrics.state_fallback.clone(),
        );
        r.register(
            "admin_port_errors",
            "Times that the admin port could not be opened",
            metrics.admin_port_errors.clone(),
        );
        r.register(
            "unusable_settings",
            "Settings that cannot be used; nothing is shipped while there are any",
            metrics.unusable_settings.clone(),
        );
        r.register(
            "runtime_config_reloads",
            "New contents of the runtime configuration",
            metrics.runtime_config_reloads.clone(),
        );
        r.register(
            "runtime_config_good",
            "1 unless the latest runtime configuration is invalid",
            metrics.runtime_config_good.clone(),
        );
        metrics.runtime_config_good.set(1);
        metrics
    }

    pub(crate) fn handed(&self, handed: &Handed) {
        self.entries.inc_by(handed.entries);
        self.cut_lines.inc_by(handed.cut);
        self.replaced_lines.inc_by(handed.replaced);
        self.skipped_old.inc_by(handed.old);
        self.disbelieved.inc_by(handed.disbelieved);
        if handed.zeros > 0 {
            self.lost_bytes.get_or_create(&Lost::Zeros.reason()).inc_by(handed.zeros);
        }
    }

    /// The counter of one redaction rule.
    pub(crate) fn redactions(&self, rule: &str) -> Counter {
        self.redactions.get_or_create_owned(&Rule { rule: rule.to_owned() })
    }

    /// A redaction rule is used no more.
    pub(crate) fn forget_redactions(&self, rule: &str) {
        self.redactions.remove(&Rule { rule: rule.to_owned() });
    }

    /// A drop rule is used no more.
    pub(crate) fn forget_dropped(&self, rule: &str) {
        self.dropped.remove(&Rule { rule: rule.to_owned() });
    }

    /// The counter of one drop rule.
    pub(crate) fn dropped(&self, rule: &str) -> Counter {
        self.dropped.get_or_create_owned(&Rule { rule: rule.to_owned() })
    }

    /// Sets how many files are not read: there are too many, or their names are not UTF-8.
    pub(crate) fn left_out(&self, left_out: LeftOut) {
        for (reason, files) in [("name", left_out.not_utf8), ("too_many", left_out.too_many)] {
            let files = i64::try_from(files).unwrap_or(i64::MAX);
            self.left_out.get_or_create(&Reason { reason }).set(files);
        }
    }

    /// Sets how many files share one stream of Loki.
    pub(crate) fn sharing(&self, files: usize) {
        self.sharing.set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    /// A file was opened again because it could not be read.
    pub(crate) fn reopened(&self) {
        self.reopened.inc();
    }

    pub(crate) fn lost(&self, reason: Lost, bytes: u64) {
        self.losses.inc();
        self.possibly_lost(reason, bytes);
    }

    /// A fully read file is gone, and may have got more lines.
    pub(crate) fn possibly_lost(&self, reason: Lost, bytes: u64) {
        self.lost_files.get_or_create(&reason.reason()).inc();
        self.lost_bytes.get_or_create(&reason.reason()).inc_by(bytes);
    }

    /// How often unread lines were lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// How many entries were skipped for their age.
    pub(crate) fn skipped_old(&self) -> u64 {
        self.skipped_old.get()
    }

    pub(crate) fn pushed(&self, entries: usize, bytes: usize) {
        self.held.set(0);
        self.pushed_entries.inc_by(entries as u64);
        self.pushed_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn metadata(&self, is_on: bool) {
        self.metadata_refused.set(i64::from(!is_on));
    }

    pub(crate) fn rejected(&self, rejected: &Rejections) {
        for (reason, entries) in rejected.iter() {
            self.rejected.get_or_create(&Reason { reason: reason.word() }).inc_by(entries);
        }
    }

    pub(crate) fn failed(&self, trouble: &Trouble) {
        self.failures.get_or_create(&Reason { reason: trouble.reason() }).inc();
        self.held.set(i64::from(trouble.needs_somebody()));
    }

    pub(crate) fn set_aside(&self, streams: usize) {
        self.streams_set_aside.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    pub(crate) fn unread(&self, bytes: u64, oldest: Option<std::time::Duration>) {
        self.unread_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.oldest_unacknowledged.set(oldest.map_or(0.0, |oldest| oldest.as_secs_f64()));
    }

    pub(crate) fn admin_port_error(&self) {
        self.admin_port_errors.inc();
    }

    pub(crate) fn unusable_settings(&self, faults: usize) {
        self.unusable_settings.set(i64::try_from(faults).unwrap_or(i64::MAX));
    }

    /// The runtime configuration has a new content, or it is gone.
    pub(crate) fn runtime_config(&self, good: bool) {
        let result = if good { "used" } else { "invalid" };
        self.runtime_config_reloads.get_or_create(&ReloadResult { result }).inc();
        self.runtime_config_good.set(i64::from(good));
    }

    pub(crate) fn state_fallback(&self, is_used: bool) {
        self.state_fallback.set(i64::from(is_used));
    }

    pub(crate) fn position_error(&self) {
        self.position_errors.inc();
    }
}
