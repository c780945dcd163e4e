//! How far Loki has acknowledged each file, kept across restarts.
//!
//! The order is always: acknowledge, then persist. One exception makes resends exact: what the clock or the order of events
//! decided about a batch is written *before* it is pushed (see [`StreamRecord`]).
//!
//! The file is a header line with a version and a checksum, then JSON. It is written beside, synced and renamed, and the
//! generation before it is kept: a damaged file means the other one, and at the worst a start from the beginning. Only a
//! file that can still be read becomes the generation before: a damaged one never takes the place of a good one.
//! What is acknowledged between two of them stands in `journal`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::entries::Chain;
use crate::journal::{self, Journal};

/// The file in the state directory.
pub const FILE: &str = "positions.json";
/// The generation before it.
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
        /// What the file system said.
        source: std::io::Error,
    },
    /// A file is not ours, of another version, or damaged.
    #[error("invalid position file {path}: {fault}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way.
        fault: String,
    },
    /// The file cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// The position record: every stream by the name of its live file.
pub type Record = BTreeMap<String, StreamRecord>;

/// Where one stream stands, and everything that its next entries depend on besides the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// What the next entry's time depends on.
    pub chain: Chain,
    /// The files whose bytes are to be read, in this order. The last one is the live file, where there is one.
    pub queue: Vec<GenerationRecord>,
    /// Rotated files that are read to their end, and looked after in case their writer is slow to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<GenerationRecord>,
    /// The file that was finished last, to tell which rotated files came after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<GenerationRecord>,
    /// The youngest rotated file that there was, in case that one is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<GenerationRecord>,
}

/// The clock for the entries of a generation up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocked {
    /// Holds for the entries that begin below this position.
    pub until: u64,
    /// The present as those entries saw it, in nanoseconds since 1970 UTC.
    pub now: i64,
    /// The time of entries without any, as those entries saw it.
    pub untimed: i64,
}

/// One file: how to know it again, and how far it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was made, where the file system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// How many bytes are acknowledged.
    pub position: u64,
    /// How many bytes at its start are hashed, up to 1 KiB.
    pub head_len: u64,
    /// Their hash.
    pub head_hash: u64,
    /// The hash of the 64 bytes (or fewer) before the position.
    pub marker_hash: u64,
    /// The clock that the next entries are made with, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocked: Option<Clocked>,
    /// Whether it was finished before and has grown since, so that younger files may be finished already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Where a text was taken to end because nothing followed it, as long as that is after the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// Where the file was taken to have ended, though its last line was unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<u64>,
}

/// A folder that holds the position file, or nothing where positions are not kept.
#[derive(Clone, Debug)]
pub struct Store(Option<PathBuf>);

impl Store {
    /// Positions in `dir`, or in memory only.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// What was saved last. Damage is told as a list of errors beside what could still be read.
    pub fn load(&self) -> (Record, Vec<PositionError>) {
        let mut errors = Vec::new();
        for name in [FILE, OLD_FILE] {
            let Some(dir) = &self.0 else { break };
            match read(&dir.join(name)) {
                Ok(Some((mut record, checksum))) => {
                    let path = dir.join(journal::FILE);
                    let replayed = journal::replay(dir, checksum, &mut record);
                    errors.extend(replayed.err().map(|source| PositionError::Read { path, source }));
                    return (record, errors);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        (Record::new(), errors)
    }

    /// Writes `record` so that a crash at any moment leaves it or the one before it.
    pub fn save(&self, record: &Record) -> Result<(), PositionError> {
        self.save_and_go_on(record).map(|_journal| ())
    }

    /// The same, and where to write what is acknowledged from here on, if positions are kept.
    pub(crate) fn save_and_go_on(&self, record: &Record) -> Result<Option<Journal>, PositionError> {
        let Some(dir) = &self.0 else { return Ok(None) };
        let failed = |name| move |source| PositionError::Write { path: dir.join(name), source };
        let checksum = write(dir, &dir.join(FILE), record).map_err(failed(FILE))?;
        Journal::begin(dir, checksum).map(Some).map_err(failed(journal::FILE))
    }
}

/// A position file, and its checksum.
fn read(path: &Path) -> Result<Option<(Record, u64)>, PositionError> {
    let damaged = |fault: &str| PositionError::Damaged { path: path.to_owned(), fault: fault.to_owned() };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PositionError::Read { path: path.to_owned(), source }),
    };
    let (body, checksum) = checked(&bytes).map_err(damaged)?;
    let record = serde_json::from_str(body).map_err(|error| damaged(&error.to_string()))?;
    Ok(Some((record, checksum)))
}

/// What follows the header, where that fits, and its checksum.
fn checked(bytes: &[u8]) -> Result<(&str, u64), &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_not_utf8| "it is not UTF-8")?;
    let (header, body) = text.split_once('\n').ok_or("it has no header line")?;
    let said = header.strip_prefix(MAGIC).ok_or("its header is not that of version 1")?;
    let checksum = xxh3_64(body.as_bytes());
    let fits = said.trim() == format!("{checksum:016x}");
    fits.then_some((body, checksum)).ok_or("its checksum does not fit")
}

/// Writes a position file, and returns its checksum.
fn write(dir: &Path, path: &Path, record: &Record) -> std::io::Result<u64> {
    let body = serde_json::to_string(record)?;
    let checksum = xxh3_64(body.as_bytes());
    let new = dir.join(NEW_FILE);
    let mut file = std::fs::File::create(&new)?;
    write!(file, "{MAGIC} {checksum:016x}\n{body}")?;
    file.sync_all()?;
    let is_good = std::fs::read(path).is_ok_and(|bytes| checked(&bytes).is_ok());
    // Where the generation before cannot be kept, the new one is worth all the more.
    let kept = if is_good { std::fs::rename(path, dir.join(OLD_FILE)) } else { Ok(()) };
    std::fs::rename(&new, path)?;
    std::fs::File::open(dir)?.sync_all()?;
    kept.map(|()| checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last: i64) -> Record {
        let stream = StreamRecord { chain: Chain { last, timed: true, ..Chain::default() }, ..StreamRecord::default() };
        Record::from([("dmcproxy.log".to_owned(), stream)])
    }

    #[test]
    fn reads_back_what_it_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        let (loaded, errors) = store.load();
        assert_eq!(loaded, record(2));
        assert!(errors.is_empty());
    }

    #[test]
    fn takes_the_generation_before_a_damaged_one_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        let path = dir.path().join(FILE);
        let torn = std::fs::read_to_string(&path).unwrap().replace("\"last\":2", "\"last\":3");
        for damage in [torn.as_bytes(), b"", b"\xff\n", b"another file\n{}"] {
            std::fs::write(&path, damage).unwrap();
            let (loaded, errors) = store.load();
            assert_eq!(loaded, record(1));
            assert_eq!(errors.len(), 1, "{errors:?}");
        }
    }

    #[test]
    fn keeps_the_good_generation_where_the_one_after_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        for n in 3..6 {
            std::fs::write(dir.path().join(FILE), "damaged").unwrap();
            assert_eq!(store.load().0, record(1));
            store.save(&record(n)).unwrap();
            assert_eq!(store.load().0, record(n));
            assert_eq!(read(&dir.path().join(OLD_FILE)).unwrap().unwrap().0, record(1));
        }
    }

    #[test]
    fn saves_though_the_generation_before_cannot_be_kept_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        std::fs::create_dir_all(dir.path().join(OLD_FILE).join("full")).unwrap();
        assert!(matches!(store.save(&record(2)), Err(PositionError::Write { .. })));
        assert_eq!(store.load().0, record(2));
    }

    #[test]
    fn leaves_what_is_there_alone_while_the_disk_is_full_or_nothing_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        store.save(&record(2)).unwrap();
        let new = dir.path().join(NEW_FILE);
        // Every write to this device finds the disk full.
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        let Err(PositionError::Write { source, .. }) = store.save(&record(3)) else { panic!("it was not full") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(store.load().0, record(2));
        std::fs::remove_file(&new).unwrap();
        // Not even root can make a file where a directory is.
        std::fs::create_dir(&new).unwrap();
        assert!(matches!(store.save(&record(3)), Err(PositionError::Write { .. })));
        assert_eq!(store.load().0, record(2));
        std::fs::remove_dir(&new).unwrap();
        store.save(&record(3)).unwrap();
        assert_eq!((store.load().0, read(&dir.path().join(OLD_FILE)).unwrap().unwrap().0), (record(3), record(2)));
    }

    #[test]
    fn starts_from_nothing_where_both_generations_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "x").unwrap();
        std::fs::write(dir.path().join(OLD_FILE), "y").unwrap();
        let (loaded, errors) = Store::new(Some(dir.path().to_owned())).load();
        assert!(loaded.is_empty());
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn survives_a_crash_between_the_two_renames() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&record(1)).unwrap();
        std::fs::rename(dir.path().join(FILE), dir.path().join(OLD_FILE)).unwrap();
        assert_eq!(store.load().0, record(1));
    }
}
