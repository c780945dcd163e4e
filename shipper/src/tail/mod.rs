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

mod generation;
mod identity;
mod rotated;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::batch::{Batch, BatchBuffer, MetadataSwitch};
use crate::discover::{Discovery, Found};
use crate::formats::TimeReader;
use crate::labels::Labels;
use crate::metrics::Metrics;
use crate::position::{Record, StreamRecord};
use rotated::Siblings;
use stream::{Stream, Surprise};

/// How much of a file is looked at in one go: it stays in the processor's cache, and holds the longest line.
const CHUNK: usize = 256 << 10;

/// How often a scan looks again before it leaves the rest to the next one.
const LOOKS: usize = 4;

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
    /// The labels all streams share.
    pub labels: Labels,
}

impl TailSettings {
    /// How much of a file is looked at in one go: it must hold the longest line, its end, and the marker before it.
    pub(crate) fn chunk_bytes(&self) -> usize {
        CHUNK.max(self.max_line + 4096)
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
    /// Bytes that are not handed out yet, rotated files included.
    pub unread: u64,
}

/// All streams of the log directory.
#[derive(Debug)]
pub struct Tail {
    discovery: Discovery,
    settings: TailSettings,
    metrics: Metrics,
    streams: Vec<Stream>,
    /// Where the search for the next due stream starts, so that a flood in one file does not starve the others.
    turn: usize,
    chunk: Vec<u8>,
    batch: BatchBuffer,
    /// The directory when it was looked at last.
    listing: Vec<Found>,
    /// Files that could not be opened, to say so once.
    unreadable: BTreeSet<String>,
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
        let listing = discovery.list_settled(&[])?;
        let mut tail = Self {
            chunk: vec![0; settings.chunk_bytes()],
            batch: BatchBuffer::new(settings.batch_bytes),
            discovery,
            settings,
            metrics,
            streams: Vec::new(),
            turn: 0,
            listing,
            unreadable: BTreeSet::new(),
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
        for _ in 0..LOOKS {
            self.listing = self.discovery.list_settled(&self.listing)?;
            if !self.look(now) {
                break;
            }
        }
        Ok(())
    }

    /// The next batch that is due, or all there is where `hurry` says not to wait for more lines.
    pub fn next_batch(&mut self, now: Now, hurry: bool) -> Option<Batch> {
        for _ in 0..self.streams.len() {
            let turn = self.turn % self.streams.len();
            self.turn = turn + 1;
            let Some(stream) = self.streams.get_mut(turn) else { continue };
            if !hurry && !stream.is_due(now.instant, &self.settings) {
                continue;
            }
            let mut workshop = stream::Workshop {
                settings: &self.settings,
                metrics: &self.metrics,
                chunk: &mut self.chunk,
                batch: &mut self.batch,
            };
            match stream.next_batch(now, &mut workshop) {
                Ok(Some(batch)) => return Some(batch),
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

    /// Whether every complete line that was there at the last scan is handed out.
    pub fn is_drained(&self) -> bool {
        self.streams.iter().all(|stream| stream.unread() == 0)
    }

    /// Where every stream stands, everything handed out included.
    pub fn record(&self) -> Record {
        self.streams.iter().map(|stream| (stream.name.to_string(), stream.record())).collect()
    }

    /// How every file stands.
    pub fn files(&self) -> Vec<FileState> {
        self.streams.iter().map(Stream::state).collect()
    }

    fn new_stream(&self, name: &str) -> Stream {
        let stem = name.strip_suffix(".log").unwrap_or(name);
        Stream::new(name, self.settings.labels.stream(stem), TimeReader::new(self.settings.zone.clone()))
    }

    /// A stream taken up where `record` says, from a listing during which nothing was renamed.
    fn resumed(&mut self, name: &str, record: &StreamRecord, now: Now) -> std::io::Result<Stream> {
        let mut looks = 0;
        loop {
            looks += 1;
            let mut stream = self.new_stream(name);
            let siblings = Siblings::of(name, &self.listing, &self.discovery);
            stream.resume(record, &siblings, &self.metrics, now);
            if !siblings.have_moved() || looks == LOOKS {
                return Ok(stream);
            }
            self.listing = self.discovery.list_settled(&[])?;
        }
    }

    /// Looks at every stream with the listing at hand; whether a newer one is needed is returned.
    fn look(&mut self, now: Now) -> bool {
        for found in &self.listing {
            if self.discovery.is_stream(&found.name) && !self.streams.iter().any(|stream| *stream.name == *found.name) {
                let mut stream = self.new_stream(&found.name);
                stream.begin(&Siblings::of(&found.name, &self.listing, &self.discovery), now);
                let at = self.streams.partition_point(|known| *known.name < *found.name);
                self.streams.insert(at, stream);
            }
        }
        let mut again = false;
        for stream in &mut self.streams {
            let siblings = Siblings::of(&stream.name, &self.listing, &self.discovery);
            match stream.look(&siblings, &self.metrics, now) {
                Ok(wants_more) => {
                    again |= wants_more;
                    self.unreadable.remove(&*stream.name);
                }
                Err(error) => {
                    if self.unreadable.insert(stream.name.to_string()) {
                        tracing::warn!(file = %stream.name, %error, "failed to open a log file, trying again");
                    }
                }
            }
        }
        again
    }
}
