//! Chooses where positions are kept: in the state directory, or in the fallback directory while the state directory is not
//! writable.
//!
//! The state directory is on the database's volume and outlives the pod. The fallback directory outlives only the container. The
//! directory with the higher serial number has the newer positions. Each directory has its own lock.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::chain;

use super::journal::Journal;
use super::lock::{LockError, StateLock};
use super::record::Record;
use super::store::{Loaded, PositionError, Store};

/// How often the state directory is tried while positions are in the fallback directory.
pub(crate) const RETRY: Duration = Duration::from_secs(30);

/// The directories.
#[derive(Debug)]
pub(crate) struct Home {
    /// `None` if positions are kept only in memory.
    state: Option<Directory>,
    fallback: Option<Directory>,
    /// The serial number of the last position file.
    serial: u64,
    /// The last failed write to the state directory, while the fallback directory is in use.
    failed_at: Option<Instant>,
    /// Whether the fallback directory may contain positions.
    fallback_is_used: bool,
}

/// The result of saving positions.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The journal for the next acknowledgements. `None` if positions are not kept.
    pub(crate) journal: Option<Journal>,
    /// Why the state directory could not be written, if that was tried.
    pub(crate) why_not: Option<PositionError>,
    /// The fallback directory, while positions are kept there.
    pub(crate) fallback: Option<PathBuf>,
}

impl Home {
    /// The state directory and its fallback. Opens nothing yet.
    pub(crate) fn new(state: Option<PathBuf>, fallback: Option<PathBuf>) -> Self {
        let directory = |dir: PathBuf| Directory { store: Store::new(dir.clone()), dir, lock: None };
        let fallback = fallback.filter(|_| state.is_some()).map(directory);
        Self { state: state.map(directory), fallback, serial: 0, failed_at: None, fallback_is_used: false }
    }

    /// Locks the directories. Goes on without a lock if a directory cannot have one: it cannot be written either.
    pub(crate) fn lock(&mut self) -> Result<(), LockError> {
        let has_fallback = self.fallback.is_some();
        for directory in self.state.iter_mut().chain(&mut self.fallback) {
            match directory.lock() {
                Err(error @ LockError::Failed { .. }) if has_fallback => {
                    tracing::debug!(error = chain(&error), "no lock on a state directory");
                }
                Err(error @ LockError::Failed { .. }) => {
                    tracing::warn!(error = chain(&error), "going on without a lock on the state directory");
                }
                locked => locked?,
            }
        }
        Ok(())
    }

    /// Returns the newest positions, and all damage.
    pub(crate) fn load(&mut self) -> (Record, Vec<PositionError>) {
        let (mut newest, mut errors) = (Loaded::default(), Vec::new());
        for directory in self.fallback.iter().chain(&self.state) {
            let (loaded, damaged) = directory.store.load();
            errors.extend(damaged);
            if loaded.serial >= newest.serial {
                newest = loaded;
            }
        }
        self.fallback_is_used = self.fallback.is_some();
        self.serial = newest.serial;
        (newest.record, errors)
    }

    /// Writes `record` to the state directory, or else to the fallback directory.
    pub(crate) fn save(&mut self, record: &Record) -> Result<Saved, PositionError> {
        // Every attempt may leave a file, and the next file must be newer.
        let mut next = || {
            self.serial = self.serial.saturating_add(1);
            self.serial
        };
        let Some(state) = &mut self.state else { return Ok(Saved { journal: None, why_not: None, fallback: None }) };
        let Some(fallback) = &mut self.fallback else {
            return Ok(Saved { journal: Some(state.save(record, next())?), why_not: None, fallback: None });
        };
        let mut why_not = None;
        if self.failed_at.is_none_or(|failed| failed.elapsed() >= RETRY) {
            match state.save(record, next()) {
                Ok(journal) => {
                    self.failed_at = None;
                    // Older positions there do no harm: their serial number is lower.
                    if std::mem::take(&mut self.fallback_is_used)
                        && let Err(error) = fallback.store.clear()
                    {
                        tracing::debug!(%error, "failed to remove positions from the fallback directory");
                    }
                    return Ok(Saved { journal: Some(journal), why_not: None, fallback: None });
                }
                Err(error) => why_not = Some(error),
            }
            self.failed_at = Some(Instant::now());
        }
        match fallback.save(record, next()) {
            Ok(journal) => {
                self.fallback_is_used = true;
                Ok(Saved { journal: Some(journal), why_not, fallback: Some(fallback.dir.clone()) })
            }
            Err(error) => {
                self.failed_at = None;
                Err(why_not.unwrap_or(error))
            }
        }
    }
}

/// A directory, and its lock once it is taken.
#[derive(Debug)]
struct Directory {
    dir: PathBuf,
    store: Store,
    lock: Option<StateLock>,
}

impl Directory {
    fn lock(&mut self) -> Result<(), LockError> {
        if self.lock.is_none() {
            // If the directory cannot be created, locking fails next, and that is reported.
            let _ = std::fs::create_dir_all(&self.dir);
            self.lock = Some(StateLock::take(&self.dir)?);
        }
        Ok(())
    }

    fn save(&mut self, record: &Record, serial: u64) -> Result<Journal, PositionError> {
        match self.lock() {
            Err(taken @ LockError::Taken(_)) => return Err(PositionError::Locked(taken)),
            // The directory is not writable, which the next write reports, or its file system has no locks.
            Err(LockError::Failed { .. }) | Ok(()) => {}
        }
        self.store.save(record, serial)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::state::record::StreamRecord;
    use crate::state::store::FILE;

    fn record(name: &str) -> Record {
        Record::from([(name.to_owned(), StreamRecord::default())])
    }

    /// A state directory and its fallback. Neither exists yet.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn state(&self) -> PathBuf {
            self.0.path().join("state")
        }

        fn fallback(&self) -> PathBuf {
            self.0.path().join("fallback")
        }

        fn home(&self) -> Home {
            let mut home = Home::new(Some(self.state()), Some(self.fallback()));
            home.lock().unwrap();
            home
        }

        /// Even root cannot write to a directory that is a file.
        fn block(&self) {
            std::fs::write(self.state(), "a file").unwrap();
        }

        fn unblock(&self) {
            std::fs::remove_file(self.state()).unwrap();
        }
    }

    fn retry(home: &mut Home) {
        home.failed_at = home.failed_at.map(|failed| failed.checked_sub(RETRY).unwrap());
    }

    fn has_positions(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    #[test]
    fn falls_back_while_the_state_directory_is_not_writable_and_moves_back_later() {
        let place = Place::new();
        place.block();
        let mut home = place.home();
        let saved = home.save(&record("a.log")).unwrap();
        assert_eq!(saved.fallback, Some(place.fallback()));
        assert!(saved.why_not.is_some() && has_positions(&place.fallback()));
        place.unblock();
        assert!(home.save(&record("b.log")).unwrap().fallback.is_some());
        retry(&mut home);
        assert!(home.save(&record("c.log")).unwrap().fallback.is_none());
        assert!(has_positions(&place.state()) && !has_positions(&place.fallback()));
        drop(home);
        assert_eq!(place.home().load().0, record("c.log"));
    }

    #[test]
    fn takes_the_newer_positions_of_both_directories() {
        let place = Place::new();
        let mut home = place.home();
        home.save(&record("old.log")).unwrap();
        drop(home);
        // The volume is not writable for a while.
        std::fs::rename(place.state(), place.0.path().join("away")).unwrap();
        place.block();
        let mut home = place.home();
        home.load();
        home.serial = 1;
        home.save(&record("new.log")).unwrap();
        drop(home);
        place.unblock();
        std::fs::rename(place.0.path().join("away"), place.state()).unwrap();
        let mut home = place.home();
        assert_eq!(home.load().0, record("new.log"));
        // Positions that are saved in the state directory later are newer, even if the fallback directory keeps its own.
        let copy = std::fs::read(place.fallback().join(FILE)).unwrap();
        home.save(&record("newest.log")).unwrap();
        std::fs::write(place.fallback().join(FILE), copy).unwrap();
        drop(home);
        assert_eq!(place.home().load().0, record("newest.log"));
    }

    #[test]
    fn locks_both_directories_and_a_state_directory_that_comes_later() {
        let place = Place::new();
        place.block();
        let mut home = place.home();
        home.save(&record("a.log")).unwrap();
        let mut other = Home::new(Some(place.state()), Some(place.fallback()));
        assert!(matches!(other.lock(), Err(LockError::Taken(dir)) if dir == place.fallback()));
        place.unblock();
        // Another shipper has the lock.
        let mut first = Home::new(Some(place.state()), None);
        first.lock().unwrap();
        retry(&mut home);
        let saved = home.save(&record("b.log")).unwrap();
        assert!(matches!(saved.why_not, Some(PositionError::Locked(_))) && saved.fallback.is_some());
    }

    #[test]
    fn says_why_if_neither_directory_can_be_written() {
        let place = Place::new();
        place.block();
        std::fs::write(place.fallback(), "a file").unwrap();
        let mut home = place.home();
        let error = home.save(&record("a.log")).unwrap_err().to_string();
        assert!(error.contains("/state/"), "{error}");
        std::fs::remove_file(place.fallback()).unwrap();
        assert!(home.save(&record("a.log")).unwrap().fallback.is_some());
    }

    #[test]
    fn keeps_nothing_if_no_directory_is_given() {
        let mut home = Home::new(None, Some("/nowhere".into()));
        home.lock().unwrap();
        assert!(home.save(&record("a.log")).unwrap().journal.is_none());
        assert!(home.load().0.is_empty());
    }
}
