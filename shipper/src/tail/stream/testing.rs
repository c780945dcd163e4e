//! A stream for the unit tests of this folder.

use std::fs::File;

use globset::Glob;
use jiff::tz::TimeZone;
use prometheus_client::registry::Registry;

use super::super::rotated::Siblings;
use super::Stream;
use crate::discover::{Discovery, Found};
use crate::formats::TimeReader;
use crate::metrics::Metrics;
use crate::tail::{MAX_PASSES, Now};

/// A directory, and a stream that follows `a.log` in it.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) discovery: Discovery,
    pub(super) stream: Stream,
    registry: Registry,
    metrics: Metrics,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let discovery = Discovery::new(dir.path().to_owned(), &[Glob::new("*").unwrap()], &[]).unwrap();
        let stream = Stream::new("a.log", String::new(), TimeReader::new(TimeZone::UTC));
        Self { dir, discovery, stream, registry, metrics }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub(super) fn scan(&mut self) {
        for _ in 0..MAX_PASSES {
            self.scan_with(&self.discovery.list().unwrap());
        }
    }

    /// Scans with a listing that may be outdated.
    pub(super) fn scan_with(&mut self, listing: &[Found]) {
        let siblings = Siblings::of("a.log", listing, listing, &self.discovery);
        self.stream.observe(&siblings, &self.metrics, Now::read());
    }

    /// Makes reading of a generation fail. A descriptor that is open for writing only fails like one on a detached volume.
    pub(super) fn fail(&mut self, generation: usize) {
        let elsewhere = self.dir.path().join("elsewhere");
        let broken = File::options().create(true).truncate(false).write(true).open(&elsewhere).unwrap();
        std::fs::remove_file(elsewhere).unwrap();
        broken.set_len(4).unwrap();
        self.stream.queue[generation].read_from(broken);
    }

    /// Whether the metrics contain this line.
    pub(super) fn counted(&self, what: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().any(|line| line == format!("redis_log_shipper_{what}"))
    }
}
