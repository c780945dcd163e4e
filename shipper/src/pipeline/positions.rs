//! The position record in memory, and when it gets to disk.

use std::time::Duration;

use runtime::chain;
use tokio::time::Instant;

use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::position::{Record, Store, StreamRecord};

/// Acknowledged positions are saved after this time at the latest; until then the journal has them.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// That they cannot be saved is told again this often.
const REMINDER: Duration = Duration::from_mins(1);

/// The record in memory, and when it gets to disk.
#[derive(Debug)]
pub(super) struct Positions {
    store: Store,
    record: Record,
    /// Where acknowledgements go until the next save; nothing where positions are not kept, or cannot be.
    journal: Option<Journal>,
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
            tracing::error!(error = chain(&error), "positions are damaged");
            metrics.position_error();
        }
        Self { store, record, journal: None, dirty: true, saved_at: Instant::now(), told_at: None, metrics }
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
        if let Some(mut journal) = self.journal.take() {
            match journal.append(name, &record) {
                Ok(()) => self.journal = Some(journal),
                Err(error) => self.failed(&error),
            }
        }
        match self.record.get_mut(name) {
            Some(known) => *known = record,
            None => {
                self.record.insert(name.to_owned(), record);
            }
        }
    }

    /// Says that a stream is history.
    pub(super) fn forget(&mut self, name: &str) {
        self.dirty = true;
        self.record.remove(name);
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
        // With another position file, or half of one, it is void.
        self.journal = None;
        let (store, record) = (self.store.clone(), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || store.save_and_go_on(&record)).await;
        self.saved_at = Instant::now();
        match saved {
            Ok(Ok(journal)) => {
                self.journal = journal;
                if self.told_at.take().is_some() {
                    tracing::info!("positions are saved again");
                }
                return;
            }
            Ok(Err(error)) => self.failed(&error),
            Err(error) => self.failed(&error),
        }
        self.dirty = true;
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        self.metrics.position_error();
        if self.told_at.is_none_or(|told| told.elapsed() >= REMINDER) {
            self.told_at = Some(Instant::now());
            tracing::error!(
                error = chain(error),
                "positions could not be saved; a restart would ship some lines again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{FILE, GenerationRecord};

    #[tokio::test(start_paused = true)]
    async fn knows_after_a_kill_what_was_acknowledged_since_they_were_saved() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Positions::load(Some(dir.path().to_owned()), Metrics::default());
        let stream = |position| StreamRecord {
            queue: vec![GenerationRecord { position, ..GenerationRecord::default() }],
            ..StreamRecord::default()
        };
        let mut positions = load();
        for (name, position) in [("a.log", 1), ("b.log", 1)] {
            positions.extend(Record::from([(name.to_owned(), stream(position))]));
        }
        positions.save().await;
        positions.set("a.log", stream(2));
        positions.set("a.log", stream(3));
        assert_eq!(load().record(), positions.record());
        assert_eq!(load().record().get("a.log"), Some(&stream(3)));
        positions.save().await;
        positions.set("b.log", stream(4));
        assert_eq!(load().record(), positions.record());
    }

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
