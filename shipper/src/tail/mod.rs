//! Follows the files of the log directory through every rotation, and fills batches from them.
//!
//! ```text
//! Tail ── one Stream per log file ── a queue of Generations, oldest first, the live file last
//!  │            │                         │
//!  scan         next_batch             identity: head hash and marker
//!  (rotated: the rotated files of a stream, in order of age)
//! ```
//!
//! Everything here is synchronous and takes the time as an argument. The pipeline does the waiting.

mod adjust;
mod archives;
mod arrivals;
mod content;
mod file_state;
mod generation;
mod growth;
mod identity;
mod limits;
mod now;
mod replay;
mod rotated;
mod settings;
mod shed;
mod stream;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Batch, BatchBuffer, MetadataSwitch};
use crate::discover::{Discovery, Found, LeftOut};
use crate::drop::Drops;
use crate::metrics::Metrics;
use crate::redaction::Redactor;
use crate::state::{Record, StreamRecord};
pub use adjust::Adjustment;
pub use file_state::FileState;
pub use limits::DELETED;
use limits::{AlreadyLogged, Limits};
pub use now::Now;
pub(crate) use replay::{Replay, ReplayError, Until};
use rotated::Siblings;
pub use settings::TailSettings;
use stream::{Stream, Surprise};

/// At most this many passes with a new listing make one scan. The next scan does the rest.
const MAX_PASSES: usize = 4;

/// All streams of the log directory.
#[derive(Debug)]
pub struct Tail {
    discovery: Discovery,
    settings: TailSettings,
    metrics: Metrics,
    streams: Vec<Stream>,
    /// The positions of streams that the globs do not match. They may match them again.
    parked: Record,
    /// Streams to remove from the position record.
    forgotten: Vec<Arc<str>>,
    /// Where the search for the next due stream starts. It moves on, so that a flood in one file does not starve the others.
    turn: usize,
    /// The only stream that may decompress an archive.
    decompressing: Option<Arc<str>>,
    /// Streams that are due by this time are pushed together with the one that is due now.
    horizon: Option<Instant>,
    chunk: Vec<u8>,
    batch: BatchBuffer,
    redactor: Redactor,
    drops: Drops,
    /// The latest listing of the directory.
    listing: Vec<Found>,
    /// The listing of the previous scan.
    before: Vec<Found>,
    limits: Limits,
    /// How many names the latest listing leaves out.
    left_out: LeftOut,
    /// How many log files are not followed, because there are too many.
    not_followed: usize,
    /// Which of its conditions are logged already.
    already_logged: AlreadyLogged,
}

impl Tail {
    /// Resumes every stream at its position in `record`. Reads only the bytes that identify the files.
    ///
    /// The caller must save [`Self::record`] before it pushes the first batch.
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
            redactor: Redactor::new(&settings.redaction, settings.max_line, |rule| metrics.redactions(rule)),
            drops: Drops::new(&settings.drop, |rule| metrics.dropped(rule)),
            discovery,
            settings,
            metrics,
            streams: Vec::new(),
            parked: Record::new(),
            forgotten: Vec::new(),
            turn: 0,
            decompressing: None,
            horizon: None,
            // Files that were rotated before the very first start are not shipped.
            before: if record.is_empty() { listing.clone() } else { Vec::new() },
            listing,
            limits: Limits::of_this_process(),
            left_out,
            not_followed: 0,
            already_logged: AlreadyLogged::default(),
        };
        for (name, record) in record {
            if tail.discovery.is_stream(name) {
                let before = std::mem::take(&mut tail.before);
                let stream = tail.resumed(name, record, &before, now)?;
                tail.before = before;
                tail.streams.push(stream);
            } else {
                tail.parked.insert(name.clone(), record.clone());
            }
        }
        tail.scan(now)?;
        tail.streams.iter_mut().for_each(Stream::recorded);
        Ok(tail)
    }

    /// The log directory.
    pub fn dir(&self) -> &Path {
        self.discovery.dir()
    }

    /// The switch that turns structured metadata off once Loki refuses it.
    pub fn metadata_switch(&self) -> MetadataSwitch {
        self.batch.metadata_switch()
    }

    /// Scans the directory and every open file: opens new files and follows rotations.
    pub fn scan(&mut self, now: Now) -> std::io::Result<()> {
        let mut resumed = Vec::new();
        for _ in 0..MAX_PASSES {
            let before = std::mem::take(&mut self.listing);
            let listed = self.list(&before);
            self.listing = before;
            self.listing = listed?;
            resumed.extend(self.resume_parked(now)?);
            if !self.observe_streams(&resumed, now) {
                break;
            }
        }
        self.before.clone_from(&self.listing);
        self.shed();
        let forgettable = self.streams.extract_if(.., |stream| stream.is_forgettable(now.instant));
        self.forgotten.extend(forgettable.map(|stream| stream.name));
        self.forget_longest_gone();
        self.report_left_out();
        Ok(())
    }

    /// Returns the next batch that is due. With `hurry` it does not wait for more lines.
    pub fn next_batch(&mut self, now: Now, hurry: bool) -> Option<Batch> {
        if let Some(name) = self.forgotten.pop() {
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
                redactor: &mut self.redactor,
                drops: &self.drops,
            };
            match stream.next_batch(now, &mut workshop) {
                Ok(Some(batch)) => return Some(self.written_ahead(batch)),
                Ok(None) => {}
                Err(Surprise) => {
                    // The file changed while it was read: scan before the next turn.
                    if let Err(error) = self.scan(now) {
                        tracing::warn!(%error, "failed to scan the log directory");
                    }
                }
            }
        }
        None
    }

    /// When the next batch is due if no more lines come.
    pub fn next_due(&self) -> Option<Instant> {
        self.streams.iter().filter_map(|stream| stream.due(&self.settings)).min()
    }

    /// Holds the streams in `names`, and releases all others.
    pub fn hold(&mut self, names: &BTreeSet<Arc<str>>) {
        for stream in &mut self.streams {
            stream.held = names.contains(&stream.name);
        }
    }

    /// Whether every complete line of the last scan is in a batch. With `except_held`, held streams do not count.
    pub fn is_drained(&self, except_held: bool) -> bool {
        self.streams.iter().all(|stream| except_held && stream.held || stream.is_drained())
    }

    /// The last time that any file grew.
    pub fn grew_at(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::grew_at).max()
    }

    /// The positions of all streams. Everything in a batch counts as read.
    pub fn record(&self) -> Record {
        self.streams.iter().map(|stream| (stream.name.to_string(), stream.record())).collect()
    }

    /// The state of every file, readable or not.
    pub fn files(&mut self) -> Vec<FileState> {
        self.streams.iter_mut().filter(|stream| stream.is_there()).map(Stream::state).collect()
    }

    /// How many entries each drop rule has dropped.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, u64)> {
        self.drops.counts()
    }

    /// If one stream is due, the streams that are due soon join it. Then the process wakes up, and writes the position record,
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

    /// If `batch` has something to save before its push, adds what the other streams have to save.
    fn written_ahead(&mut self, mut batch: Batch) -> Batch {
        if !batch.before.is_empty() {
            for stream in &mut self.streams {
                let before = stream.take_write_ahead();
                batch.before.extend(before.map(|before| (stream.name.to_string(), before)));
            }
        }
        batch
    }

    /// Resumes a stream at its positions in `record`, with a listing during which nothing was renamed.
    fn resumed(&mut self, name: &str, record: &StreamRecord, before: &[Found], now: Now) -> std::io::Result<Stream> {
        let mut passes = 0;
        loop {
            passes += 1;
            let mut stream = Stream::of(name, record.chain.slot, &self.settings);
            let siblings = Siblings::of(name, &self.listing, before, &self.discovery);
            stream.resume(record, &siblings, &self.metrics, now);
            if !siblings.are_stale() || passes == MAX_PASSES {
                return Ok(stream);
            }
            self.listing = self.list(&[])?;
        }
    }

    /// Observes every stream with the current listing. No scan came before this one for those in `resumed`. Returns whether
    /// it needs a newer listing.
    fn observe_streams(&mut self, resumed: &[Arc<str>], now: Now) -> bool {
        let mut needs_listing = false;
        for stream in &mut self.streams {
            let before = if resumed.contains(&stream.name) { &[] } else { self.before.as_slice() };
            let siblings = Siblings::of(&stream.name, &self.listing, before, &self.discovery);
            needs_listing |= stream.observe(&siblings, &self.metrics, now);
        }
        self.follow_new_files(now) | needs_listing
    }

    /// Lists the directory.
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
    use super::settings::CHUNK;
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
        // 64 MiB take no more memory.
        let file = std::fs::File::options().append(true).open(dir.path().join("a.log")).unwrap();
        for _ in 0..64 {
            std::io::Write::write_all(&mut &file, &vec![b'x'; 1 << 20]).unwrap();
        }
        tail.scan(Now::read()).unwrap();
        // The last piece is held: it may be a complete line without its line ending.
        assert_eq!(first + entries(&mut tail), (2 * CHUNK + (64 << 20)) / 4096 - 1);
    }
}
