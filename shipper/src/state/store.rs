//! How far Loki has acknowledged each file, kept across restarts.
//!
//! The order is always: acknowledge, then persist. One exception makes resends exact: if the clock or the order of events decides
//! something about a batch, that is written *before* the push (see [`super::StreamRecord`]).
//!
//! The file is a header line with a version and a checksum, then JSON. It is written to a temporary file, synced and renamed. The
//! previous file is kept as the previous generation, and replaces a damaged file. In the worst case, shipping starts from the
//! beginning. A damaged file never becomes the previous generation.
//! Acknowledgements between two position files are in `journal`.
//!
//! The header also has a serial number, which grows by one with each file. It shows which of two directories has the newer
//! positions.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dir::{MOST_BYTES, StateDir};
use super::journal::{self, Journal};
use super::lock::LockError;
use super::plausible;
use super::record::Record;

/// The name of the file in the state directory.
pub const FILE: &str = "positions.json";
/// The name of the previous generation.
pub const OLD_FILE: &str = "positions.json.old";
const NEW_FILE: &str = "positions.json.new";
const MAGIC: &str = "redis-log-shipper positions v1";

/// Why positions could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// A file is damaged, has another version, or is not a position file.
    #[error("invalid position file {path}: {fault}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        fault: String,
    },
    /// The file cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The directory became writable, and another shipper has its lock.
    #[error("failed to save positions")]
    Locked(#[source] LockError),
}

/// A directory with a position file.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

/// The content of a position file.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The positions, including later acknowledgements.
    pub(super) record: Record,
    /// The serial number. Zero if there is no file.
    pub(super) serial: u64,
}

impl Store {
    /// The positions in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Reads the positions that were saved last. Returns all damage as errors, beside what is still readable.
    pub(super) fn load(&self) -> (Loaded, Vec<PositionError>) {
        let mut errors = Vec::new();
        let failed = |name| move |source| PositionError::Read { path: self.0.join(name), source };
        let dir = match StateDir::open(&self.0) {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Loaded::default(), errors),
            Err(error) => {
                errors.push(failed(FILE)(error));
                return (Loaded::default(), errors);
            }
        };
        for name in [FILE, OLD_FILE] {
            match self.read(&dir, name) {
                Ok(Some((mut loaded, checksum))) => {
                    let replayed = journal::replay(&dir, checksum, &mut loaded.record);
                    errors.extend(replayed.err().map(failed(journal::FILE)));
                    return (loaded, errors);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        (Loaded::default(), errors)
    }

    /// Writes `record`. A crash at any moment leaves this record or the previous one. Returns the journal for the next
    /// acknowledgements.
    pub(super) fn save(&self, record: &Record, serial: u64) -> Result<Journal, PositionError> {
        let failed = |name| move |source| PositionError::Write { path: self.0.join(name), source };
        let dir = StateDir::open(&self.0).map_err(failed(FILE))?;
        let checksum = write(&dir, record, serial).map_err(failed(FILE))?;
        Journal::begin(dir, checksum).map_err(failed(journal::FILE))
    }

    /// Removes the positions, if there are any.
    pub(super) fn clear(&self) -> std::io::Result<()> {
        let dir = StateDir::open(&self.0)?;
        // The newer file goes last: an interrupted removal must not bring an older file back.
        [OLD_FILE, NEW_FILE, journal::FILE, FILE].into_iter().try_for_each(|name| dir.remove(name))
    }

    /// Reads a position file and its checksum.
    fn read(&self, dir: &StateDir, name: &str) -> Result<Option<(Loaded, u64)>, PositionError> {
        let path = || self.0.join(name);
        let damaged = |fault: &str| PositionError::Damaged { path: path(), fault: fault.to_owned() };
        let read = dir.read(name).map_err(|source| PositionError::Read { path: path(), source })?;
        let Some(bytes) = read else { return Ok(None) };
        let Checked { body, checksum, serial } = checked(&bytes).map_err(damaged)?;
        let record: Record = serde_json::from_str(body).map_err(|error| damaged(&error.to_string()))?;
        if let Some(fault) = record.values().find_map(plausible::fault) {
            return Err(damaged(fault));
        }
        Ok(Some((Loaded { record, serial }, checksum)))
    }
}

/// Parses a position file with a valid checksum.
struct Checked<'a> {
    body: &'a str,
    checksum: u64,
    serial: u64,
}

fn checked(bytes: &[u8]) -> Result<Checked<'_>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_not_utf8| "it is not UTF-8")?;
    let (header, body) = text.split_once('\n').ok_or("it has no header line")?;
    let said = header.strip_prefix(MAGIC).ok_or("it has no header of version 1")?.trim();
    let (said, serial) = said.split_once(' ').unwrap_or((said, "0"));
    let serial = serial.parse().map_err(|_no_number| "its serial number is no number")?;
    let checksum = xxh3_64_with_seed(body.as_bytes(), serial);
    let fits = said == format!("{checksum:016x}");
    fits.then_some(Checked { body, checksum, serial }).ok_or("its checksum does not fit")
}

/// Writes a position file. Returns its checksum.
fn write(dir: &StateDir, record: &Record, serial: u64) -> std::io::Result<u64> {
    let body = serde_json::to_string(record)?;
    let checksum = xxh3_64_with_seed(body.as_bytes(), serial);
    let text = format!("{MAGIC} {checksum:016x} {serial}\n{body}");
    if text.len() as u64 > MOST_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    fill(dir.create(NEW_FILE)?, &text)?;
    let is_good = dir.read(FILE).is_ok_and(|read| read.is_some_and(|bytes| checked(&bytes).is_ok()));
    // Go on if the previous generation cannot be kept: then the new file matters even more.
    let kept = if is_good { dir.rename(FILE, OLD_FILE) } else { Ok(()) };
    dir.rename(NEW_FILE, FILE)?;
    dir.sync()?;
    kept.map(|()| checksum)
}

fn fill(mut file: File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::entries::Chain;
    use crate::state::dir::tests::TRAPS;
    use crate::state::record::StreamRecord;

    fn record(last: u64) -> Record {
        let last = last.cast_signed();
        let stream = StreamRecord { chain: Chain { last, timed: true, ..Chain::default() }, ..StreamRecord::default() };
        Record::from([("dmcproxy.log".to_owned(), stream)])
    }

    fn old(store: &Store, dir: &Path) -> Record {
        store.read(&StateDir::open(dir).unwrap(), OLD_FILE).unwrap().unwrap().0.record
    }

    #[test]
    fn reads_back_what_it_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        store.save(&record(2), 2).unwrap();
        let (loaded, errors) = store.load();
        assert_eq!(loaded.record, record(2));
        assert!(errors.is_empty());
    }

    #[test]
    fn takes_the_generation_before_a_damaged_one_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        store.save(&record(2), 2).unwrap();
        let path = dir.path().join(FILE);
        let torn = std::fs::read_to_string(&path).unwrap().replace("\"last\":2", "\"last\":3");
        for damage in [torn.as_bytes(), b"", b"\xff\n", b"another file\n{}"] {
            std::fs::write(&path, damage).unwrap();
            let (loaded, errors) = store.load();
            assert_eq!(loaded.record, record(1));
            assert_eq!(errors.len(), 1, "{errors:?}");
        }
    }

    #[test]
    fn keeps_the_good_generation_where_the_one_after_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        store.save(&record(2), 2).unwrap();
        for n in 3..6 {
            std::fs::write(dir.path().join(FILE), "damaged").unwrap();
            assert_eq!(store.load().0.record, record(1));
            store.save(&record(n), n).unwrap();
            assert_eq!(store.load().0.record, record(n));
            assert_eq!(old(&store, dir.path()), record(1));
        }
    }

    #[test]
    fn saves_though_the_generation_before_cannot_be_kept_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        std::fs::create_dir_all(dir.path().join(OLD_FILE).join("full")).unwrap();
        assert!(matches!(store.save(&record(2), 2), Err(PositionError::Write { .. })));
        assert_eq!(store.load().0.record, record(2));
    }

    #[test]
    fn leaves_what_is_there_alone_while_nothing_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        store.save(&record(2), 2).unwrap();
        let new = dir.path().join(NEW_FILE);
        // Even root cannot create a file in the place of a directory.
        std::fs::create_dir(&new).unwrap();
        assert!(matches!(store.save(&record(3), 3), Err(PositionError::Write { .. })));
        assert_eq!(store.load().0.record, record(2));
        std::fs::remove_dir(&new).unwrap();
        store.save(&record(3), 3).unwrap();
        assert_eq!((store.load().0.record, old(&store, dir.path())), (record(3), record(2)));
    }

    #[test]
    fn notices_a_full_disk_before_the_file_takes_its_place() {
        // Every write to this device fails as if the disk were full.
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(fill(full, "text").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    #[test]
    fn goes_on_with_the_generation_before_whatever_stands_in_the_place_of_a_file() {
        for (fault, trap) in TRAPS {
            let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
            std::fs::write(outside.path(), "precious").unwrap();
            let store = Store::new(dir.path().to_owned());
            store.save(&record(1), 1).unwrap();
            store.save(&record(2), 2).unwrap();
            for name in [FILE, NEW_FILE, journal::FILE] {
                let _ = std::fs::remove_file(dir.path().join(name));
                trap(&dir.path().join(name), outside.path());
            }
            let (loaded, errors) = store.load();
            assert_eq!((loaded.record, errors.len()), (record(1), 2), "{errors:?}");
            assert!(runtime::chain(&errors[0]).contains(fault), "{errors:?}");
            store.save(&record(3), 3).unwrap();
            assert_eq!(store.load().0.record, record(3));
            assert_eq!(std::fs::read(outside.path()).unwrap(), b"precious");
        }
    }

    #[test]
    fn refuses_records_that_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        store.save(&record(i64::MAX.cast_unsigned()), 2).unwrap();
        let (loaded, errors) = store.load();
        assert_eq!(loaded.record, record(1));
        assert!(errors[0].to_string().ends_with("positions.json: a time after the year 2100"), "{errors:?}");
        // It also writes no file that it would not read.
        let long = |number| (format!("{number:0>250}.log"), StreamRecord::default());
        assert!(store.save(&(0..20_000).map(long).collect(), 3).is_err());
        assert_eq!(store.load().0.record, record(1));
    }

    #[test]
    fn starts_from_nothing_where_both_generations_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "x").unwrap();
        std::fs::write(dir.path().join(OLD_FILE), "y").unwrap();
        let (loaded, errors) = Store::new(dir.path().to_owned()).load();
        assert!(loaded.record.is_empty());
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn survives_a_crash_between_the_two_renames() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        store.save(&record(1), 1).unwrap();
        std::fs::rename(dir.path().join(FILE), dir.path().join(OLD_FILE)).unwrap();
        assert_eq!(store.load().0.record, record(1));
    }
}
