//! The position record in memory, and when it is saved.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::findings::Code;
use runtime::{chain, printable};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::state::home::{Home, RETRY, Saved};
use crate::state::journal::Journal;
use crate::state::plausible;
use crate::state::{PositionError, Record, StreamRecord};
use crate::status::{Condition, SharedStatus, findings};

/// Acknowledged positions are saved after this time at the latest. Until then they are in the journal.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// A failure to save that lasts is logged again after this time.
const REMINDER: Duration = Duration::from_mins(1);

/// The record in memory, and when it is saved.
#[derive(Debug)]
pub(super) struct Positions {
    /// Only one task at a time saves, and locks it.
    home: Arc<Mutex<Home>>,
    record: Record,
    /// The journal for acknowledgements until the next save. `None` if positions are not kept, or cannot be saved.
    journal: Option<Journal>,
    dirty: bool,
    saved_at: Instant,
    /// When a failure to save was logged, while it lasts.
    logged_at: Option<Instant>,
    /// Whether positions are kept in the fallback directory, and that is logged.
    is_away: bool,
    metrics: Metrics,
    status: SharedStatus,
}

impl Positions {
    /// The readable positions of the last run. `clock` is the current time, in nanoseconds since 1970 UTC.
    pub(super) fn load(mut home: Home, metrics: Metrics, status: SharedStatus, clock: i64) -> Self {
        let (mut record, errors) = home.load();
        for error in errors {
            tracing::error!(error = chain(&error), "positions are damaged");
            metrics.position_error();
        }
        for file in plausible::forget_the_future(&mut record, clock) {
            tracing::warn!(
                file = %printable(&file),
                "the position record has times more than a day ahead of the clock; they are ignored"
            );
            metrics.position_error();
        }
        Self {
            home: Arc::new(Mutex::new(home)),
            record,
            journal: None,
            dirty: true,
            saved_at: Instant::now(),
            logged_at: None,
            is_away: false,
            metrics,
            status,
        }
    }

    /// All positions.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Updates the streams of `record`.
    pub(super) fn extend(&mut self, record: Record) {
        self.dirty = true;
        self.record.extend(record);
    }

    /// Whether the last save is too long ago, or the journal is full.
    pub(super) fn are_overdue(&self) -> bool {
        self.saved_at.elapsed() >= SAVE_INTERVAL || self.journal.as_ref().is_some_and(Journal::is_full)
    }

    /// Updates one stream.
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

    /// Removes a stream.
    pub(super) fn forget(&mut self, name: &str) {
        self.dirty = true;
        self.record.remove(name);
    }

    /// Completes when there is something to save and it is time to save it.
    pub(super) async fn due(&self) {
        if self.dirty {
            tokio::time::sleep_until(self.saved_at + SAVE_INTERVAL).await;
        } else if self.is_away {
            tokio::time::sleep_until(self.saved_at + RETRY).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Updates the streams of `record`, and syncs them to disk.
    ///
    /// It writes to the journal, because that costs by the size of `record`. A position file costs by the number of all streams.
    pub(super) async fn write_ahead(&mut self, record: Record) {
        let journal = self.journal.take_if(|journal| !journal.is_full());
        self.extend(record.clone());
        let Some(mut journal) = journal else { return self.save().await };
        let written = tokio::task::spawn_blocking(move || {
            record.iter().try_for_each(|(name, stream)| journal.append(name, stream))?;
            journal.sync()?;
            Ok::<_, std::io::Error>(journal)
        });
        match written.await {
            Ok(Ok(journal)) => self.journal = Some(journal),
            // The position file may still be writable.
            Ok(Err(_)) | Err(_) => self.save().await,
        }
    }

    /// Saves all changes. Logs and counts a full or read-only disk. Then shipping goes on, and the next save tries again.
    pub(super) async fn save(&mut self) {
        if !self.dirty && !self.is_away {
            return;
        }
        // Another position file, even a partial one, makes the journal void.
        self.journal = None;
        let (home, record) = (self.home.clone(), self.record.clone());
        let save = move || home.lock().unwrap_or_else(PoisonError::into_inner).save(&record);
        let saved = tokio::task::spawn_blocking(save).await;
        self.saved_at = Instant::now();
        match saved {
            Ok(Ok(Saved { journal, why_not, fallback })) => {
                self.journal = journal;
                self.keeps_in(fallback.as_deref(), why_not.as_ref());
                if self.logged_at.take().is_some() {
                    tracing::info!(code = Code::StateNotWritable.as_str(), "positions are saved again");
                }
                // Only now: the caller may stop waiting, and then the next save must still write.
                self.dirty = false;
            }
            Ok(Err(error)) => self.failed(&error),
            Err(error) => self.failed(&error),
        }
    }

    /// Logs once where positions are kept, and what to do if that is not the state directory.
    fn keeps_in(&mut self, fallback: Option<&Path>, why_not: Option<&PositionError>) {
        self.metrics.state_fallback(fallback.is_some());
        let finding =
            why_not.filter(|_| fallback.is_some()).map(|why| findings::state_not_writable(&chain(why), fallback));
        self.status.condition(Condition::State, finding);
        let code = Code::StateNotWritable.as_str();
        match (fallback, why_not) {
            (Some(fallback), Some(why_not)) if !self.is_away => {
                self.metrics.position_error();
                tracing::warn!(
                    code,
                    error = chain(why_not),
                    fallback = %fallback.display(),
                    "the state directory cannot be written; positions are kept in the fallback directory, which ends with \
                     the pod: set fsGroup in the pod's security context, or the annotation redis-log-shipper.io/state: \
                     ephemeral"
                );
                self.is_away = true;
            }
            (None, _) if self.is_away => {
                tracing::info!(code, "the state directory can be written; positions have moved there");
                self.is_away = false;
            }
            _ => {}
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        self.metrics.position_error();
        let finding = findings::state_not_writable(&chain(error), None);
        let code = finding.code.as_str();
        self.status.condition(Condition::State, Some(finding));
        if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= REMINDER) {
            self.logged_at = Some(Instant::now());
            tracing::error!(
                code,
                error = chain(error),
                "positions could not be saved; a restart would ship some lines again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE, GenerationRecord};

    #[tokio::test(start_paused = true)]
    async fn knows_after_a_kill_what_was_acknowledged_since_they_were_saved() {
        let dir = tempfile::tempdir().unwrap();
        let load = || {
            Positions::load(
                Home::new(Some(dir.path().to_owned()), None),
                Metrics::default(),
                SharedStatus::default(),
                0,
            )
        };
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
        positions.write_ahead(Record::from([("c.log".to_owned(), stream(5)), ("a.log".to_owned(), stream(4))])).await;
        assert_eq!(load().record(), positions.record());
        assert_eq!(load().record().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn saves_a_position_file_before_the_journal_is_too_large_to_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let load = || {
            Positions::load(
                Home::new(Some(dir.path().to_owned()), None),
                Metrics::default(),
                SharedStatus::default(),
                0,
            )
        };
        let mut positions = load();
        positions.save().await;
        let mut saves = 0;
        for number in 0..40_000 {
            let mut stream = StreamRecord::default();
            stream.chain.last = number;
            positions.set("a.log", stream);
            if positions.are_overdue() {
                positions.save().await;
                saves += 1;
            }
        }
        assert!(saves > 0);
        assert_eq!(load().record(), positions.record());
    }

    #[tokio::test(start_paused = true)]
    async fn saves_what_it_could_not_save_once_the_disk_has_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        // Even root cannot write to a directory that is a file.
        std::fs::write(&state, "a file").unwrap();
        let mut positions =
            Positions::load(Home::new(Some(state.clone()), None), Metrics::default(), SharedStatus::default(), 0);
        positions.set("a.log", StreamRecord::default());
        positions.save().await;
        std::fs::remove_file(&state).unwrap();
        // Nothing new is acknowledged meanwhile.
        tokio::time::timeout(2 * SAVE_INTERVAL, positions.due()).await.unwrap();
        positions.save().await;
        assert!(state.join(FILE).exists());
        assert!(tokio::time::timeout(2 * SAVE_INTERVAL, positions.due()).await.is_err());
    }
}
