//! One state directory, one shipper: two of them would write their positions over each other's.
//!
//! The lock is the kernel's, on an open file: it ends with the process, however that ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::dir::StateDir;

/// The file in the state directory that is locked.
const FILE: &str = "lock";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("the state directory {0} is in use by another shipper; stop that one, or choose another --state-dir")]
    Taken(PathBuf),
    /// There can be none: the directory is read-only, say, or its file system knows no locks.
    #[error("failed to lock {path}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// Held for as long as the positions in a directory are one's own.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of `dir`, or says at once why not.
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
