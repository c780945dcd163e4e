//! The position record in memory, and when it gets to disk.

use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::position::{Record, Store, StreamRecord};

/// Acknowledged positions are on disk after this time at the latest.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The record in memory, and when it gets to disk.
#[derive(Debug)]
pub(super) struct Positions {
    store: Store,
    record: Record,
    dirty: bool,
    saved_at: Instant,
    metrics: Metrics,
}

impl Positions {
    /// Those of the last run, as far as they could be read.
    pub(super) fn load(dir: Option<std::path::PathBuf>, metrics: Metrics) -> Self {
        let store = Store::new(dir);
        let (record, errors) = store.load();
        for error in errors {
            tracing::error!(error = &error as &dyn std::error::Error, "positions are damaged");
            metrics.position_error();
        }
        Self { store, record, dirty: true, saved_at: Instant::now(), metrics }
    }

    /// All of them.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Takes in where the streams of `record` stand.
    pub(super) fn extend(&mut self, record: Record) {
        self.dirty = true;
        self.record.extend(record);
    }

    /// Whether what is not saved is older than it should be.
    pub(super) fn are_overdue(&self) -> bool {
        self.saved_at.elapsed() >= SAVE_INTERVAL
    }

    /// Says where one stream stands.
    pub(super) fn set(&mut self, name: &str, record: StreamRecord) {
        self.dirty = true;
        match self.record.get_mut(name) {
            Some(known) => *known = record,
            None => {
                self.record.insert(name.to_owned(), record);
            }
        }
    }

    /// Until there is something to save and it is time to.
    pub(super) async fn due(&self) {
        if self.dirty {
            tokio::time::sleep_until((self.saved_at + SAVE_INTERVAL).into()).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Saves what is not saved. A full or read-only disk is said and counted; shipping goes on.
    pub(super) async fn save(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let (store, record) = (self.store.clone(), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&record)).await;
        self.saved_at = Instant::now();
        let error: Box<dyn std::error::Error> = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Box::new(error),
            Err(error) => Box::new(error),
        };
        self.metrics.position_error();
        tracing::error!(error, "positions could not be saved; a restart would ship some lines again");
    }
}
