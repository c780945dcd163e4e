//! Follows the files of the log directory through every rotation, and fills batches from them.
//!
//! ```text
//! Tail ── one Stream a log file ── a queue of Generations, oldest first, the live file last
//!  │            │                         │
//!  scan         next_batch             identity: head hash and marker
//!  (rotated: what happened to the live file while we looked away)
//! ```
//!
//! Everything here is synchronous and takes the time as an argument; waiting is the pipeline's business.

mod archives;
mod arrivals;
mod content;
mod generation;
mod growth;
mod identity;
mod rotated;
mod shed;
mod stream;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::batch::{Batch, BatchBuffer, MetadataSwitch};
use crate::discover::{Discovery, Found, LeftOut};
use crate::formats::TimeReader;
use crate::labels::Labels;
use crate::metrics::Metrics;
use crate::state::{Record, StreamRecord};
use rotated::Siblings;
pub use shed::DELETED;
use stream::{Stream, Surprise};

/// How much of a file is looked at in one go: it stays in the processor's cache, and holds the longest line.
const CHUNK: usize = 256 << 10;

/// How often a scan looks again before it leaves the rest to the next one.
const MAX_PASSES: usize = 4;

/// What the tail is told once.
#[derive(Clone, Debug)]
pub struct TailSettings {
    /// A push holds at most this many bytes, uncompressed.
    pub batch_bytes: usize,
    /// Lines that are not enough for a full push wait for others this long.
    pub batch_wait: Duration,
    /// Longer lines come in pieces.
    pub max_line: usize,
    /// Older entries are skipped: Loki rejects them.
    pub max_age: Duration,
    /// In which zone the files write their times.
    pub zone: TimeZone,
    /// Whether a line without a time continues the one before it.
    pub multiline: bool,
    /// The labels all streams share.
    pub labels: Labels,
}

impl Default for TailSettings {
    /// What the command line says where nothing is said.
    fn default() -> Self {
        Self {
            batch_bytes: 1 << 20,
            batch_wait: Duration::from_secs(1),
            max_line: 250_000,
            max_age: Duration::from_hours(168),
            zone: TimeZone::UTC,
            multiline: true,
            labels: Labels::default(),
        }
    }
}

impl TailSettings {
    /// How much of a file is looked at in one go: it must hold the longest line, its end, and the marker before it.
    pub(crate) fn chunk_bytes(&self) -> usize {
        CHUNK.max(self.max_line + 4096)
    }

    /// How much memory the one archive takes that is decompressed.
    pub(crate) fn archive_bytes(&self) -> usize {
        content::Content::memory(self.chunk_bytes())
    }
}

/// The present, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For timestamps, in nanoseconds since 1970 UTC.
    pub clock: i64,
}

impl Now {
    /// The system's.
    pub fn read() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), clock: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }
    }
}

/// How one file stands, for `/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The live file's name.
    pub name: Arc<str>,
    /// Its size when it was looked at last.
    pub size: u64,
    /// The next byte to be handed out, of the oldest generation that is not finished.
    pub position: u64,
    /// Bytes that are not handed out yet, rotated files included.
    pub unread: u64,
    /// Since when the oldest of them waits.
    pub unread_since: Option<Instant>,
    /// How many files there are to read, the live one included.
    pub generations: usize,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// All streams of the log directory.
#[derive(Debug)]
pub struct Tail {
    discovery: Discovery,
    settings: TailSettings,
    metrics: Metrics,
    streams: Vec<Stream>,
    /// Streams of which nothing is left, to be forgotten.
    history: Vec<Arc<str>>,
    /// Where the search for the next due stream starts, so that a flood in one file does not starve the others.
    turn: usize,
    /// The stream whose archive is decompressed. One at a time, because each takes memory.
    decompressing: Option<Arc<str>>,
    /// Streams that are due by then go along with one that is due now.
    horizon: Option<Instant>,
    chunk: Vec<u8>,
    batch: BatchBuffer,
    /// The directory when it was looked at last.
    listing: Vec<Found>,
    /// And when it was looked at before that.
    before: Vec<Found>,
    /// How many bytes of deleted files may be kept.
    max_deleted: u64,
    /// How many files may be open.
    max_open: usize,
    /// How many streams are followed at a time.
    max_followed: usize,
    /// How many files may have a stream of their own in Loki.
    max_streams: usize,
    /// What the last listing lacks.
    left_out: LeftOut,
    /// Log files that are not followed, because too many are.
    not_followed: usize,
    too_many_logged: bool,
    sharing_logged: bool,
    invalid_names_logged: bool,
}

impl Tail {
    /// Takes up every stream where `record` says it was left. Nothing is read yet but what identifies the files.
    ///
    /// What [`Self::record`] then returns must be on disk before the first batch is pushed.
    pub fn resume(
        discovery: Discovery,
        settings: TailSettings,
        record: &Record,
        metrics: Metrics,
        now: Now,
    ) -> std::io::Result<Self> {
        let (listing, left_out) = discovery.list_settled(&[], &|name| record.contains_key(name))?;
        let mut tail = Self {
            chunk: vec![0; settings.chunk_bytes()],
            batch: BatchBuffer::new(settings.batch_bytes),
            discovery,
            settings,
            metrics,
            streams: Vec::new(),
            history: Vec::new(),
            turn: 0,
            decompressing: None,
            horizon: None,
            // What is there before the very first start is none of our business.
            before: if record.is_empty() { listing.clone() } else { Vec::new() },
            listing,
            max_deleted: DELETED,
            max_open: shed::max_open(),
            max_followed: arrivals::MAX_FOLLOWED,
            max_streams: arrivals::MAX_STREAMS,
            left_out,
            not_followed: 0,
            too_many_logged: false,
            sharing_logged: false,
            invalid_names_logged: false,
        };
        for (name, record) in record {
            if tail.discovery.is_stream(name) {
                let stream = tail.resumed(name, record, now)?;
                tail.streams.push(stream);
            }
        }
        tail.scan(now)?;
        tail.streams.iter_mut().for_each(Stream::recorded);
        Ok(tail)
    }

    /// Whether entries carry structured metadata, for whoever hears that Loki refuses it.
    pub fn metadata_switch(&self) -> MetadataSwitch {
        self.batch.metadata_switch()
    }

    /// Looks at the directory and every open file: new files are opened, rotations followed.
    pub fn scan(&mut self, now: Now) -> std::io::Result<()> {
        for _ in 0..MAX_PASSES {
            let before = std::mem::take(&mut self.listing);
            let listed = self.list(&before);
            self.listing = before;
            self.listing = listed?;
            if !self.observe_streams(now) {
                break;
            }
        }
        self.before.clone_from(&self.listing);
        self.shed();
        let history = self.streams.extract_if(.., |stream| stream.is_history(now.instant));
        self.history.extend(history.map(|stream| stream.name));
        self.forget_longest_gone();
        self.report_left_out();
        Ok(())
    }

    /// The next batch that is due, or all there is where `hurry` says not to wait for more lines.
    pub fn next_batch(&mut self, now: Now, hurry: bool) -> Option<Batch> {
        if let Some(name) = self.history.pop() {
            return Some(Batch::without_entries(name, Record::new(), None));
        }
        self.gather(now.instant);
        for _ in 0..self.streams.len() {
            let turn = self.turn % self.streams.len();
            self.turn = turn + 1;
            let Some(stream) = self.streams.get_mut(turn) else { continue };
            if stream.held {
                continue;
            }
            if hurry {
                stream.decide(now.instant);
            } else if !stream.is_due(self.horizon.unwrap_or(now.instant), &self.settings) {
                continue;
            }
            if stream.decompresses() && !self.may_decompress(turn) {
                continue;
            }
            let Some(stream) = self.streams.get_mut(turn) else { continue };
            let mut workshop = stream::Workshop {
                settings: &self.settings,
                metrics: &self.metrics,
                chunk: &mut self.chunk,
                batch: &mut self.batch,
            };
            match stream.next_batch(now, &mut workshop) {
                Ok(Some(batch)) => return Some(self.written_ahead(batch)),
                Ok(None) => {}
                Err(Surprise) => {
                    // The file under the reader is not what it was: look again before the next turn.
                    if let Err(error) = self.scan(now) {
                        tracing::warn!(%error, "failed to look at the log directory");
                    }
                }
            }
        }
        None
    }

    /// When the next batch will be due, if no more lines come.
    pub fn next_due(&self) -> Option<Instant> {
        self.streams.iter().filter_map(|stream| stream.due(&self.settings)).min()
    }

    /// Hands out nothing of the streams that are named, and of all others again.
    pub fn hold(&mut self, names: &BTreeSet<Arc<str>>) {
        for stream in &mut self.streams {
            stream.held = names.contains(&stream.name);
        }
    }

    /// Whether every complete line that was there at the last scan is handed out; `but_held` leaves out held streams.
    pub fn is_drained(&self, but_held: bool) -> bool {
        self.streams.iter().all(|stream| but_held && stream.held || stream.is_drained())
    }

    /// When any file grew last.
    pub fn grew_at(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::grew_at).max()
    }

    /// Where every stream stands, everything handed out included.
    pub fn record(&self) -> Record {
        self.streams.iter().map(|stream| (stream.name.to_string(), stream.record())).collect()
    }

    /// How every file stands that there is, readable or not.
    pub fn files(&mut self) -> Vec<FileState> {
        self.streams.iter_mut().filter(|stream| stream.is_there()).map(Stream::state).collect()
    }

    /// Where one stream is due, those that will be soon go along: the process wakes up, and the position record is written,
    /// once for all of them.
    fn gather(&mut self, now: Instant) {
        if !self.streams.iter().any(|stream| stream.is_due(now, &self.settings)) {
            self.horizon = None;
            return;
        }
        let horizon = now + self.settings.batch_wait / 2;
        self.horizon = Some(horizon);
        for stream in &mut self.streams {
            if stream.is_due(horizon, &self.settings) {
                stream.decide(now);
            }
        }
    }

    /// Where `batch` has something written ahead, what the other streams have to write ahead goes along.
    fn written_ahead(&mut self, mut batch: Batch) -> Batch {
        if !batch.before.is_empty() {
            for stream in &mut self.streams {
                let before = stream.take_write_ahead();
                batch.before.extend(before.map(|before| (stream.name.to_string(), before)));
            }
        }
        batch
    }

    /// A file of this name, with a stream of its own in Loki, or with its slot in the one that files share.
    fn new_stream(&self, name: &str, slot: Option<u16>) -> Stream {
        let log_file = if slot.is_some() { arrivals::SHARED } else { arrivals::stem(name) };
        let mut stream =
            Stream::new(name, self.settings.labels.stream(log_file), TimeReader::new(self.settings.zone.clone()));
        stream.share(slot);
        stream
    }

    /// A stream taken up where `record` says, from a listing during which nothing was renamed.
    fn resumed(&mut self, name: &str, record: &StreamRecord, now: Now) -> std::io::Result<Stream> {
        let mut looks = 0;
        loop {
            looks += 1;
            let mut stream = self.new_stream(name, record.chain.slot);
            let siblings = Siblings::of(name, &self.listing, &self.before, &self.discovery);
            stream.resume(record, &siblings, &self.metrics, now);
            if !siblings.are_stale() || looks == MAX_PASSES {
                return Ok(stream);
            }
            self.listing = self.list(&[])?;
        }
    }

    /// Looks at every stream with the listing at hand; whether a newer one is needed is returned.
    fn observe_streams(&mut self, now: Now) -> bool {
        let mut again = false;
        for stream in &mut self.streams {
            let siblings = Siblings::of(&stream.name, &self.listing, &self.before, &self.discovery);
            again |= stream.observe(&siblings, &self.metrics, now);
        }
        self.follow_new_files(now) | again
    }

    /// The directory as it is now.
    fn list(&mut self, before: &[Found]) -> std::io::Result<Vec<Found>> {
        let streams = &self.streams;
        let known = |name: &str| streams.binary_search_by(|stream| stream.name.as_ref().cmp(name)).is_ok();
        let (listing, left_out) = self.discovery.list_settled(before, &known)?;
        self.left_out = left_out;
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_a_chunk_and_a_batch_of_a_file_that_has_no_line_ending() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.log"), "x".repeat(2 * CHUNK)).unwrap();
        let (mut tail, _) = testing::tail(dir.path(), &Record::new());
        let entries = |tail: &mut Tail| {
            let mut entries = 0;
            while let Some(batch) = tail.next_batch(Now::read(), true) {
                assert!(batch.bytes <= tail.settings.batch_bytes, "{}", batch.bytes);
                assert!(batch.body.len() <= tail.settings.batch_bytes);
                entries += batch.entries;
            }
            assert_eq!((tail.chunk.len(), tail.chunk.capacity()), (CHUNK, CHUNK));
            entries
        };
        let first = entries(&mut tail);
        // 64 MiB of it stand in no relation to that.
        let file = std::fs::File::options().append(true).open(dir.path().join("a.log")).unwrap();
        for _ in 0..64 {
            std::io::Write::write_all(&mut &file, &vec![b'x'; 1 << 20]).unwrap();
        }
        tail.scan(Now::read()).unwrap();
        // The last piece may still be a line that ends there.
        assert_eq!(first + entries(&mut tail), (2 * CHUNK + (64 << 20)) / 4096 - 1);
    }
}
