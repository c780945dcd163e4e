//! The position record in memory, and when it gets to disk.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::position::{Record, Store, StreamRecord};

/// Acknowledged positions are on disk after this time at the latest.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// That they cannot be saved is told again this often.
const REMINDER: Duration = Duration::from_mins(1);

/// The record in memory, and when it gets to disk.
#[derive(Debug)]
pub(super) struct Positions {
    store: Store,
    record: Record,
    dirty: bool,
    saved_at: Instant,
    /// When it was told that they cannot be saved, as long as that lasts.
    told_at: Option<Instant>,
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
        Self { store, record, dirty: true, saved_at: Instant::now(), told_at: None, metrics }
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
            tokio::time::sleep_until(self.saved_at + SAVE_INTERVAL).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Saves what is not saved. A full or read-only disk is said and counted; shipping goes on, and what was not saved is
    /// tried again.
    pub(super) async fn save(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let (store, record) = (self.store.clone(), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&record)).await;
        self.saved_at = Instant::now();
        let error: Box<dyn std::error::Error> = match saved {
            Ok(Ok(())) => {
                if self.told_at.take().is_some() {
                    tracing::info!("positions are saved again");
                }
                return;
            }
            Ok(Err(error)) => Box::new(error),
            Err(error) => Box::new(error),
        };
        self.dirty = true;
        self.metrics.position_error();
        if self.told_at.is_none_or(|told| told.elapsed() >= REMINDER) {
            self.told_at = Some(self.saved_at);
            tracing::error!(error, "positions could not be saved; a restart would ship some lines again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::FILE;

    #[tokio::test(start_paused = true)]
    async fn saves_what_it_could_not_save_once_the_disk_has_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut positions = Positions::load(Some(state.clone()), Metrics::default());
        positions.set("a.log", StreamRecord::default());
        positions.save().await;
        assert!(!state.exists());
        std::fs::create_dir(&state).unwrap();
        // Nothing new is acknowledged meanwhile.
        tokio::time::timeout(2 * SAVE_INTERVAL, positions.due()).await.unwrap();
        positions.save().await;
        assert!(state.join(FILE).exists());
        assert!(tokio::time::timeout(2 * SAVE_INTERVAL, positions.due()).await.is_err());
    }
}
