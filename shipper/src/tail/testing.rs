//! A tail for the unit tests of this folder.

use std::path::Path;

use globset::Glob;
use prometheus_client::registry::Registry;

use super::{Now, Tail, TailSettings};
use crate::discover::Discovery;
use crate::metrics::Metrics;
use crate::state::Record;

/// Follows the log files of `dir` from the positions in `record`.
pub(super) fn tail(dir: &Path, record: &Record) -> (Tail, Registry) {
    let settings = TailSettings { batch_bytes: 20_000, max_line: 4096, ..TailSettings::default() };
    let discovery = Discovery::new(dir.to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    (Tail::resume(discovery, settings, record, metrics, Now::read()).unwrap(), registry)
}

/// All metrics as text.
pub(super) fn counted(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}
