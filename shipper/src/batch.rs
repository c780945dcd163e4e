//! Entries of one stream, sealed into one push.
//!
//! A sealed batch never changes: a resend has the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::encode;
use crate::extract::{Entry, Sink};
use crate::formats::{self, level::Level};
use crate::state::{Record, StreamRecord};

/// One push, and the positions before and after it.
#[derive(Debug)]
pub struct Batch {
    /// The name of the stream's live file.
    pub name: Arc<str>,
    /// The compressed request. Empty if all lines were skipped, so that there is nothing to push.
    pub body: bytes::Bytes,
    /// The number of entries.
    pub entries: usize,
    /// The uncompressed size.
    pub bytes: usize,
    /// The times of the first and of the last entry, in nanoseconds since 1970 UTC.
    pub times: Option<(i64, i64)>,
    /// How many bytes of the file it covers.
    pub read: u64,
    /// When the first byte was seen.
    pub since: Option<Instant>,
    /// Must be on disk before the push, because a resend depends on it: the state of this stream, or of others too.
    pub before: Record,
    /// The position after the push is acknowledged. `None` removes the stream from the position record.
    pub after: Option<StreamRecord>,
}

impl Batch {
    /// A batch that pushes nothing and only changes the position record.
    pub(crate) fn without_entries(name: Arc<str>, before: Record, after: Option<StreamRecord>) -> Self {
        Self { name, body: bytes::Bytes::new(), entries: 0, bytes: 0, times: None, read: 0, since: None, before, after }
    }
}

/// Whether entries carry structured metadata. They do until Loki refuses it. Clones share one state.
#[derive(Clone, Debug)]
pub struct MetadataSwitch(Arc<AtomicBool>);

impl Default for MetadataSwitch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl MetadataSwitch {
    /// Whether entries carry metadata.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Turns metadata off for all later batches. Returns whether it was on.
    pub fn turn_off(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Sink for BatchBuffer {
    fn has_room_for(&self, len: usize) -> bool {
        Self::has_room_for(self, len)
    }

    fn push(&mut self, entry: &Entry<'_>) -> bool {
        if entry.is_ascii {
            self.append(entry.time, entry.line, entry.level);
            return false;
        }
        Self::push(self, entry.time, entry.line, entry.level)
    }
}

/// The buffers in which batches are made. Each batch reuses them.
#[derive(Debug)]
pub struct BatchBuffer {
    limit: usize,
    room: usize,
    raw: Vec<u8>,
    /// Where a request is compressed. A batch gets a copy of its exact size.
    compressed: Vec<u8>,
    entries: usize,
    /// The times of the first and of the last entry.
    times: Option<(i64, i64)>,
    snappy: snap::raw::Encoder,
    switch: MetadataSwitch,
    has_metadata: bool,
    /// The encoded levels, in the order of [`Level::ALL`].
    levels: [Vec<u8>; Level::ALL.len()],
    /// The metadata of an entry without a level, then with each level: the file name, and the level. Empty without metadata.
    metadata: [Vec<u8>; 1 + Level::ALL.len()],
    /// The largest metadata of an entry.
    metadata_len: usize,
}

impl BatchBuffer {
    /// Buffers for requests of at most `limit` bytes, uncompressed.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            room: 0,
            raw: Vec::new(),
            compressed: Vec::new(),
            entries: 0,
            times: None,
            snappy: snap::raw::Encoder::new(),
            switch: MetadataSwitch::default(),
            has_metadata: false,
            levels: Level::ALL.map(|level| encode::metadata("level", level.word())),
            metadata: Default::default(),
            metadata_len: 0,
        }
    }

    /// The switch that turns structured metadata off once Loki refuses it.
    pub fn metadata_switch(&self) -> MetadataSwitch {
        self.switch.clone()
    }

    /// Starts a request for the stream with these labels and the live file `file`.
    pub fn start(&mut self, labels: &str, file: &str) {
        self.room = encode::room_for_head(labels);
        self.raw.clear();
        self.raw.resize(self.room, 0);
        self.entries = 0;
        self.times = None;
        self.has_metadata = self.switch.is_on();
        self.metadata.iter_mut().for_each(Vec::clear);
        self.metadata_len = 0;
        if self.has_metadata {
            let filename = encode::metadata("filename", file);
            let levels = std::iter::once(&[][..]).chain(self.levels.iter().map(Vec::as_slice));
            for (metadata, level) in self.metadata.iter_mut().zip(levels) {
                metadata.extend_from_slice(&filename);
                metadata.extend_from_slice(level);
            }
            let longest = self.metadata.iter().map(Vec::len).max().unwrap_or_default();
            self.metadata_len = longest + encode::MAX_BDB;
        }
    }

    /// Whether a line of `len` bytes still fits. The first one always does.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.entries == 0 || self.raw.len() + encode::entry_len(len) + self.metadata_len <= self.limit
    }

    /// Appends an entry. U+FFFD replaces invalid UTF-8. Returns whether there was any.
    pub fn push(&mut self, time: i64, line: &[u8], level: Option<Level>) -> bool {
        let is_valid = std::str::from_utf8(line).is_ok();
        if is_valid {
            self.append(time, line, level);
        } else {
            self.append(time, String::from_utf8_lossy(line).as_bytes(), level);
        }
        !is_valid
    }

    /// Appends an entry of valid UTF-8.
    fn append(&mut self, time: i64, line: &[u8], level: Option<Level>) {
        self.entries += 1;
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        let metadata = self.metadata.get(level.map_or(0, |level| 1 + level as usize)).map_or(&[][..], Vec::as_slice);
        let bdb = if self.has_metadata { formats::find_bdb(line) } else { None };
        encode::entry(&mut self.raw, time, line, metadata, bdb);
    }

    /// The times of the first and of the last entry since the start.
    pub fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// The number of entries since the start.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Ends the request. Returns its compressed bytes and its uncompressed size.
    pub fn seal(&mut self, labels: &str) -> (bytes::Bytes, usize) {
        if self.entries == 0 {
            return (bytes::Bytes::new(), 0);
        }
        let start = encode::head(&mut self.raw, labels, self.room);
        let request = self.raw.get(start..).unwrap_or_default();
        if self.compressed.len() < snap::raw::max_compress_len(request.len()) {
            // Only the bytes that are written take memory: the system hands out zeroed pages on their first use.
            self.compressed = vec![0; snap::raw::max_compress_len(self.limit.max(request.len()))];
        }
        match self.snappy.compress(request, &mut self.compressed) {
            Ok(len) => (bytes::Bytes::copy_from_slice(self.compressed.get(..len).unwrap_or_default()), request.len()),
            Err(error) => unreachable!("snappy takes up to 4 GiB, a batch is {} bytes: {error}", request.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::decode::{PushedStream, decode};

    fn decoded(entries: &[(i64, &[u8])], labels: &str) -> PushedStream {
        decoded_from(&mut BatchBuffer::new(1 << 20), entries, labels)
    }

    fn decoded_from(buffer: &mut BatchBuffer, entries: &[(i64, &[u8])], labels: &str) -> PushedStream {
        buffer.start(labels, "dmcproxy.log");
        for (time, line) in entries {
            buffer.push(*time, line, Some(Level::Error).filter(|_| line.starts_with(b"2026")));
        }
        let (body, _) = buffer.seal(labels);
        let mut streams = decode(&body).unwrap();
        assert_eq!(streams.len(), 1);
        streams.remove(0)
    }

    proptest::proptest! {
        #[test]
        fn is_what_a_protobuf_library_reads(
            entries in proptest::collection::vec((proptest::num::i64::ANY, ".{0,300}"), 1..50),
            labels in ".{0,300}",
        ) {
            let given: Vec<(i64, &[u8])> = entries.iter().map(|(time, line)| (*time, line.as_bytes())).collect();
            let read = decoded(&given, &labels);
            proptest::prop_assert_eq!(read.labels, labels);
            proptest::prop_assert_eq!(read.entries, entries);
        }
    }

    #[test]
    fn replaces_broken_utf8() {
        assert_eq!(decoded(&[(1, b"a\xffb")], "{}").entries, [(1, "a\u{FFFD}b".to_owned())]);
    }

    #[test]
    fn carries_file_level_and_database_until_that_is_refused() {
        let mut buffer = BatchBuffer::new(1 << 20);
        let entries: [(i64, &[u8]); 2] = [(1, b"2026-02-20 22:31:07,000 ERROR bdb:12 x"), (2, b"no level")];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let file = pair("filename", "dmcproxy.log");
        let read = decoded_from(&mut buffer, &entries, "{}");
        assert_eq!(read.metadata, [vec![file.clone(), pair("level", "error"), pair("bdb", "12")], vec![file]]);

        assert!(buffer.metadata_switch().turn_off());
        let read = decoded_from(&mut buffer, &entries, "{}");
        assert_eq!(read.metadata, [vec![], vec![]]);
        assert_eq!(read.entries.len(), 2);
    }

    #[test]
    fn stays_under_its_limit_with_metadata() {
        let mut buffer = BatchBuffer::new(1000);
        // Longer than what the estimate for an entry is too much.
        let file = "long".repeat(20);
        buffer.start("{a=\"b\"}", &file);
        let line = b"2026-02-20 22:31:07,000 CRITICAL bdb:123456789 x";
        while buffer.has_room_for(line.len()) {
            buffer.push(1, line, Some(Level::Critical));
        }
        let (_, bytes) = buffer.seal("{a=\"b\"}");
        assert!((700..=1000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn has_no_body_where_there_is_no_entry() {
        let mut buffer = BatchBuffer::new(100);
        buffer.start("{}", "a.log");
        assert!(buffer.seal("{}").0.is_empty());
    }
}
