//! The state directory. It is on the database's volume, so other programs can write to it.
//!
//! Any file there may be a trap. So this module follows no link, waits for no writer of a FIFO, reads no more than a bound, and
//! never writes into a file that has another name. It does not know what the files contain.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The largest file that is read.
pub(crate) const MOST_BYTES: u64 = 4 << 20;
/// The mode with which the standard library creates files.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// Why a file in the state directory is refused.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// A link, a FIFO, a device or a directory.
    #[error("it is not a regular file; remove it")]
    NotRegular,
    /// A file with a second name, which may belong to another program.
    #[error("it has more than one name (hard links); remove it")]
    Linked,
    /// A file that is too large to be ours.
    #[error("it is larger than 4 MiB; remove it")]
    TooLarge,
}

impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, fault)
    }
}

/// An open state directory.
#[derive(Debug)]
pub(crate) struct StateDir(OwnedFd);

impl StateDir {
    /// Opens the directory, which must exist.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The content of a file. `None` if there is no such file.
    pub(crate) fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        let Some(file) = self.existing(name, OFlags::RDONLY)? else { return Ok(None) };
        let mut bytes = Vec::new();
        // The file may grow meanwhile.
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Fault::TooLarge.into());
        }
        Ok(Some(bytes))
    }

    /// Creates an empty file. Replaces a file of this name.
    pub(crate) fn create(&self, name: &str) -> std::io::Result<File> {
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, MODE)?.into())
    }

    /// Opens a file for locking. Creates it if it is missing, and replaces a file that cannot be locked.
    pub(crate) fn lockable(&self, name: &str) -> std::io::Result<File> {
        // Some file systems lock only files that are open for writing, and the file may belong to another user.
        let existing = self.existing(name, OFlags::RDWR).or_else(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                self.existing(name, OFlags::RDONLY)
            }
            _ => Err(error),
        });
        match existing {
            Ok(Some(file)) => Ok(file),
            Err(error) if error.kind() != std::io::ErrorKind::InvalidData => Err(error),
            // Another shipper may create the file at the same moment. Then both open its file.
            Ok(None) | Err(_) => self.create(name).or_else(|error| self.existing(name, OFlags::RDWR)?.ok_or(error)),
        }
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Renames a file. Replaces a file of the new name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Syncs the names of the files to disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    fn existing(&self, name: &str, access: OFlags) -> std::io::Result<Option<File>> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            // A symbolic link; a FIFO or socket with no process at its other end; a directory.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::NODEV) => return Err(Fault::NotRegular.into()),
            opened => opened?,
        };
        let known = fstat(&file)?;
        let size = u64::try_from(known.st_size).unwrap_or(u64::MAX);
        if !FileType::from_raw_mode(known.st_mode).is_file() {
            return Err(Fault::NotRegular.into());
        }
        if known.st_nlink > 1 {
            return Err(Fault::Linked.into());
        }
        if size > MOST_BYTES {
            return Err(Fault::TooLarge.into());
        }
        Ok(Some(file.into()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    /// Sets a trap at a path. The other path is a file outside.
    type Trap = fn(&Path, &Path);

    /// All traps.
    pub(crate) const TRAPS: [(&str, Trap); 6] = [
        ("not a regular file", |path, outside| symlink(outside, path).unwrap()),
        ("not a regular file", |path, _| symlink("/dev/zero", path).unwrap()),
        ("not a regular file", |path, _| symlink("nowhere", path).unwrap()),
        ("more than one name", |path, outside| std::fs::hard_link(outside, path).unwrap()),
        ("not a regular file", |path, _| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap()),
        ("larger than 4 MiB", |path, _| File::create(path).unwrap().set_len(1 << 30).unwrap()),
    ];

    /// A directory, and a file beside it that must not change.
    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (state, outside) = (dir.path().join("state"), dir.path().join("outside"));
        std::fs::create_dir(&state).unwrap();
        std::fs::write(&outside, "precious").unwrap();
        (dir, state, outside)
    }

    #[test]
    fn reads_no_link_no_fifo_and_nothing_large() {
        for (fault, trap) in TRAPS {
            let (_dir, state, outside) = place();
            trap(&state.join("file"), &outside);
            let error = StateDir::open(&state).unwrap().read("file").unwrap_err().to_string();
            assert!(error.contains(fault), "{error}, expected {fault}");
        }
    }

    #[test]
    fn writes_to_no_file_that_has_another_name() {
        for (_, trap) in TRAPS {
            let (_dir, state, outside) = place();
            trap(&state.join("file"), &outside);
            let dir = StateDir::open(&state).unwrap();
            std::io::Write::write_all(&mut dir.create("file").unwrap(), b"ours").unwrap();
            assert_eq!(dir.read("file").unwrap().unwrap(), b"ours");
            assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
            assert!(!state.join("nowhere").exists());
        }
    }

    #[test]
    fn locks_a_file_of_its_own_whatever_stood_there() {
        for (_, trap) in TRAPS {
            let (_dir, state, outside) = place();
            trap(&state.join("lock"), &outside);
            let dir = StateDir::open(&state).unwrap();
            dir.lockable("lock").unwrap().try_lock().unwrap();
            let other = dir.lockable("lock").unwrap();
            assert!(other.try_lock().is_ok(), "the first one is closed by now");
            assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
        }
    }

    #[test]
    fn tells_a_file_that_is_not_there_from_one_that_cannot_be_read() {
        let (_dir, state, _) = place();
        std::fs::create_dir(state.join("folder")).unwrap();
        let dir = StateDir::open(&state).unwrap();
        assert!(dir.read("file").unwrap().is_none());
        assert!(dir.read("folder").is_err());
        assert!(dir.create("folder").is_err());
        assert!(StateDir::open(&state.join("folder/none")).is_err());
    }
}
