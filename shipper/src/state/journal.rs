//! The acknowledgements since the last position file, one line each.
//!
//! The position file is synced, and therefore written at most once a second. A process that is killed in between must not forget
//! the acknowledgements of a second: Loki shows resent entries once only if they go to the stream that has them, and not if it
//! spreads a stream over shards. So each acknowledgement is written to the journal without a sync. That survives the process, but
//! not the machine, and costs almost nothing.
//!
//! A record that must be on disk before a push is also written here, and synced. This costs by the size of the record, while a
//! position file costs by the number of all files.
//!
//! The checksum in a line names its position file. The next position file makes all lines void.

use std::fs::File;
use std::io::Write as _;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::dir::{MOST_BYTES, StateDir};
use super::plausible;
use super::record::{Record, StreamRecord};

/// The name of the file in the state directory.
pub(crate) const FILE: &str = "positions.journal";

/// A journal of this size needs a new position file, because a file that is too large is not read.
const FULL: u64 = MOST_BYTES / 2;

/// The acknowledgements after a position file.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: StateDir,
    file: File,
    /// The checksum of the position file.
    base: u64,
    line: Vec<u8>,
    size: u64,
    /// Whether the file's name is synced to disk.
    named: bool,
}

impl Journal {
    /// Creates an empty journal in `dir` for the position file with this checksum.
    pub(crate) fn begin(dir: StateDir, base: u64) -> std::io::Result<Self> {
        Ok(Self { file: dir.create(FILE)?, dir, base, line: Vec::new(), size: 0, named: false })
    }

    /// Adds the record of a stream. After an error it accepts nothing more, because lines after a torn line are not read.
    pub(crate) fn append(&mut self, name: &str, record: &StreamRecord) -> std::io::Result<()> {
        let body = serde_json::to_string(&(name, record))?;
        self.line.clear();
        writeln!(self.line, "{:016x} {body}", xxh3_64_with_seed(body.as_bytes(), self.base))?;
        self.size += self.line.len() as u64;
        if self.size > MOST_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(&self.line)
    }

    /// Syncs all lines to disk.
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync_data()?;
        if !self.named {
            self.dir.sync()?;
            self.named = true;
        }
        Ok(())
    }

    /// Whether it needs a new position file.
    pub(crate) fn is_full(&self) -> bool {
        self.size >= FULL
    }
}

/// Adds to `record` the acknowledgements after the position file with this checksum.
pub(crate) fn replay(dir: &StateDir, base: u64, record: &mut Record) -> std::io::Result<()> {
    let text = dir.read(FILE)?.unwrap_or_default();
    // The last line may be torn, and all lines may belong to another position file.
    record.extend(text.split_inclusive(|byte| *byte == b'\n').map_while(|line| read(line, base)));
    Ok(())
}

fn read(line: &[u8], base: u64) -> Option<(String, StreamRecord)> {
    let (checksum, body) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let fits = checksum == format!("{:016x}", xxh3_64_with_seed(body.as_bytes(), base));
    serde_json::from_str(body).ok().filter(|(_, stream)| fits && plausible::fault(stream).is_none())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::entries::Chain;

    fn open(dir: &Path) -> StateDir {
        StateDir::open(dir).unwrap()
    }

    fn stream(last: i64) -> StreamRecord {
        StreamRecord { chain: Chain { last, ..Chain::default() }, ..StreamRecord::default() }
    }

    fn replayed(dir: &Path, base: u64) -> Vec<(String, i64)> {
        let mut record = Record::from([("a.log".to_owned(), stream(0))]);
        replay(&open(dir), base, &mut record).unwrap();
        record.into_iter().map(|(name, stream)| (name, stream.chain.last)).collect()
    }

    fn of(a: i64, b: Option<i64>) -> Vec<(String, i64)> {
        [("a.log".to_owned(), a)].into_iter().chain(b.map(|b| ("b.log".to_owned(), b))).collect()
    }

    #[test]
    fn remembers_each_stream_s_last_acknowledgement() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(replayed(dir.path(), 7), of(0, None));
        let mut journal = Journal::begin(open(dir.path()), 7).unwrap();
        for (name, last) in [("a.log", 1), ("b.log", 2), ("a.log", 3)] {
            journal.append(name, &stream(last)).unwrap();
        }
        assert_eq!(replayed(dir.path(), 7), of(3, Some(2)));
    }

    #[test]
    fn says_nothing_about_another_position_file() {
        let dir = tempfile::tempdir().unwrap();
        Journal::begin(open(dir.path()), 7).unwrap().append("a.log", &stream(1)).unwrap();
        assert_eq!(replayed(dir.path(), 8), of(0, None));
        Journal::begin(open(dir.path()), 8).unwrap();
        assert_eq!(replayed(dir.path(), 7), of(0, None));
    }

    #[test]
    fn is_read_up_to_where_it_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(open(dir.path()), 7).unwrap();
        journal.append("a.log", &stream(1)).unwrap();
        let whole = std::fs::read(dir.path().join(FILE)).unwrap().len();
        journal.append("b.log", &stream(2)).unwrap();
        let text = std::fs::read(dir.path().join(FILE)).unwrap();
        for length in 0..text.len() {
            std::fs::write(dir.path().join(FILE), &text[..length]).unwrap();
            assert_eq!(replayed(dir.path(), 7), of(i64::from(length >= whole), None), "{length}");
        }
        let damaged = String::from_utf8(text).unwrap().replace("\"last\":2", "\"last\":9");
        std::fs::write(dir.path().join(FILE), damaged).unwrap();
        assert_eq!(replayed(dir.path(), 7), of(1, None));
    }
}
