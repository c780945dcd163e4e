//! Entries of one stream, sealed into one push.
//!
//! A sealed batch never changes: a retry sends identical bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::encode;
use crate::extract::{Entry, Sink};
use crate::formats::{self, level::Level};
use crate::state::{Record, StreamRecord};

/// One push request, and what it stands for in the file.
#[derive(Debug)]
pub struct Batch {
    /// The name of the stream's live file.
    pub name: Arc<str>,
    /// The compressed request; empty where every line of the range was skipped and nothing is to be pushed.
    pub body: bytes::Bytes,
    /// How many entries it holds.
    pub entries: usize,
    /// How long it is uncompressed.
    pub bytes: usize,
    /// When the first of its bytes came.
    pub since: Option<Instant>,
    /// What must be on disk before this is pushed, because a resend could not come to it again by itself: this stream's
    /// state, or that of others as well.
    pub before: Record,
    /// What is true once this is acknowledged; nothing where the stream is to be forgotten.
    pub after: Option<StreamRecord>,
}

impl Batch {
    /// Pushes nothing, but what else there is to say about a stream.
    pub(crate) fn without_entries(name: Arc<str>, before: Record, after: Option<StreamRecord>) -> Self {
        Self { name, body: bytes::Bytes::new(), entries: 0, bytes: 0, since: None, before, after }
    }
}

/// Whether entries carry structured metadata: they do until Loki refuses it. Clones share one state.
#[derive(Clone, Debug)]
pub struct MetadataSwitch(Arc<AtomicBool>);

impl Default for MetadataSwitch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl MetadataSwitch {
    /// Whether entries carry it.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// From here on none does. Whether some did before is returned.
    pub fn turn_off(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Sink for BatchBuffer {
    fn has_room_for(&self, len: usize) -> bool {
        Self::has_room_for(self, len)
    }

    fn push(&mut self, entry: &Entry<'_>) -> bool {
        Self::push(self, entry.time, entry.line, entry.level)
    }
}

/// The buffers batches are made in, used again and again.
#[derive(Debug)]
pub struct BatchBuffer {
    limit: usize,
    room: usize,
    raw: Vec<u8>,
    entries: usize,
    snappy: snap::raw::Encoder,
    switch: MetadataSwitch,
    /// The metadata all entries of a batch share; empty where none is wanted.
    filename: Vec<u8>,
    /// That of each level, in the order of [`Level::ALL`].
    levels: [Vec<u8>; Level::ALL.len()],
    /// How long the metadata of one entry is at most.
    metadata_len: usize,
}

impl BatchBuffer {
    /// Buffers for requests of at most `limit` bytes, uncompressed.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            room: 0,
            raw: Vec::new(),
            entries: 0,
            snappy: snap::raw::Encoder::new(),
            switch: MetadataSwitch::default(),
            filename: Vec::new(),
            levels: Level::ALL.map(|level| encode::metadata("level", level.word())),
            metadata_len: 0,
        }
    }

    /// Whether entries carry structured metadata, for whoever hears that Loki refuses it.
    pub fn metadata_switch(&self) -> MetadataSwitch {
        self.switch.clone()
    }

    /// Starts a request for a stream with these labels, whose live file is `file`.
    pub fn start(&mut self, labels: &str, file: &str) {
        self.room = encode::room_for_head(labels);
        self.raw.clear();
        self.raw.resize(self.room, 0);
        self.entries = 0;
        self.filename.clear();
        self.metadata_len = 0;
        if self.switch.is_on() {
            self.filename = encode::metadata("filename", file);
            let level = self.levels.iter().map(Vec::len).max().unwrap_or_default();
            self.metadata_len = self.filename.len() + level + encode::MAX_BDB;
        }
    }

    /// Whether a line of `len` bytes still fits. The first one always does.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.entries == 0 || self.raw.len() + encode::entry_len(len) + self.metadata_len <= self.limit
    }

    /// Appends an entry. Invalid UTF-8 is replaced by U+FFFD; returns whether there was any.
    pub fn push(&mut self, time: i64, line: &[u8], level: Option<Level>) -> bool {
        self.entries += 1;
        let has_metadata = !self.filename.is_empty();
        let level = level.filter(|_| has_metadata).and_then(|level| self.levels.get(level as usize));
        let bdb = formats::find_bdb(line).filter(|_| has_metadata).map(encode::bdb);
        let bdb = bdb.as_ref().map_or(&[][..], |(bdb, len)| bdb.get(..*len).unwrap_or_default());
        let metadata = [self.filename.as_slice(), level.map_or(&[][..], Vec::as_slice), bdb];
        if std::str::from_utf8(line).is_ok() {
            encode::entry(&mut self.raw, time, line, metadata);
            return false;
        }
        encode::entry(&mut self.raw, time, String::from_utf8_lossy(line).as_bytes(), metadata);
        true
    }

    /// How many entries were appended since the start.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Ends the request: its compressed bytes, and how many they were before.
    pub fn seal(&mut self, labels: &str) -> (bytes::Bytes, usize) {
        if self.entries == 0 {
            return (bytes::Bytes::new(), 0);
        }
        let start = encode::head(&mut self.raw, labels, self.room);
        let request = self.raw.get(start..).unwrap_or_default();
        match self.snappy.compress_vec(request) {
            Ok(body) => (body.into(), request.len()),
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
