//! One shipper per state directory: two shippers would overwrite each other's positions.
//!
//! The kernel holds the lock on an open file, so it ends with the process, however the process ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::dir::StateDir;

/// The name of the locked file in the state directory.
const FILE: &str = "lock";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the state directory {0} is in use by another shipper; stop that one, or choose another --state-dir")]
    Taken(PathBuf),
    /// The file cannot be locked: for example, the directory is read-only, or its file system has no locks.
    #[error("failed to lock {path}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
}

/// While it is held, no other shipper uses the positions of the directory.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of `dir`. Does not wait.
    pub(super) fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE);
        let file = StateDir::open(dir).and_then(|dir| dir.lockable(FILE));
        let locked = file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        match locked {
            Ok(file) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(LockError::Failed { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_taken_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::Taken(_))));
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn tells_a_lock_that_cannot_be_from_one_that_is_taken() {
        let error = StateLock::take(Path::new("/nowhere")).unwrap_err();
        assert!(matches!(error, LockError::Failed { .. }), "{error}");
    }
}
