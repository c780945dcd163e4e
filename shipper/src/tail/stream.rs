//! One log file through all its generations: the order of reading, and the making of batches.
//!
//! Generations are read one after the other, never mixed: an entry's time depends on the entry before it. The first batch
//! after the order changed is written ahead into the position record, so that a resend goes the same way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::generation::{Changed, Generation, Kind};
use super::rotated::Siblings;
use super::{FileState, Now, TailSettings};
use crate::batch::{Batch, BatchBuffer};
use crate::entries::{Chain, Clock};
use crate::formats::TimeReader;
use crate::lines::next_line;
use crate::metrics::{Lost, Metrics};
use crate::position::{Clocked, GenerationRecord, StreamRecord};

/// A rotated file that did not grow for this long gives way to the next one.
const QUIET: Duration = Duration::from_secs(1);
/// A rotated file whose last line is unfinished is given this long to finish it.
const UNFINISHED: Duration = Duration::from_secs(5);
/// A rotated file is looked after this long in case its writer has not noticed the rotation.
const LINGER: Duration = Duration::from_mins(1);
/// A batch covers at most this many times its own size of the file, however many of its lines are skipped.
const MAX_SPAN: usize = 4;

/// The file under the reader changed: the stream must look at the directory again.
#[derive(Debug)]
pub(super) struct Surprise;

/// What batches are made with; lent by the tail.
pub(super) struct Workshop<'a> {
    pub(super) settings: &'a TailSettings,
    pub(super) metrics: &'a Metrics,
    pub(super) chunk: &'a mut [u8],
    pub(super) batch: &'a mut BatchBuffer,
}

/// One log file.
#[derive(Debug)]
pub(super) struct Stream {
    /// The live file's name.
    pub(super) name: Arc<str>,
    labels: String,
    times: TimeReader,
    chain: Chain,
    /// The clock of a batch that may have been pushed before a crash.
    clocked: Option<Clocked>,
    queue: VecDeque<Generation>,
    lingering: Vec<Generation>,
    /// The generation that was finished last: rotated files younger than it are news.
    anchor: Option<GenerationRecord>,
    /// Whether the order of reading is not on disk yet.
    reordered: bool,
    /// When lines were handed out last.
    sealed_at: Option<Instant>,
    told_of_old_entries: bool,
}

impl Stream {
    pub(super) fn new(name: &str, labels: String, times: TimeReader) -> Self {
        Self {
            name: name.into(),
            labels,
            times,
            chain: Chain::default(),
            clocked: None,
            queue: VecDeque::new(),
            lingering: Vec::new(),
            anchor: None,
            reordered: true,
            sealed_at: None,
            told_of_old_entries: false,
        }
    }

    /// Takes the stream up where `record` left it.
    pub(super) fn resume(&mut self, record: &StreamRecord, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) {
        self.chain = record.chain;
        self.clocked = record.clocked;
        self.anchor.clone_from(&record.anchor);
        for (i, generation) in record.queue.iter().enumerate() {
            // An empty file tells nothing about itself; the anchor tells which files came after it.
            if generation.head_len == 0 && self.anchor.is_some() {
                continue;
            }
            if let Some(found) = siblings.find(generation, now.instant) {
                self.queue.push_back(found);
                continue;
            }
            if i == 0 {
                self.clocked = None;
            }
            self.miss(generation, metrics);
        }
        for generation in &record.lingering {
            self.lingering.extend(siblings.find(generation, now.instant).filter(|found| found.kind == Kind::Rotated));
        }
    }

    /// Looks at the live file and the rotated ones, and follows what happened to them.
    pub(super) fn look(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<()> {
        self.look_at_rotated(metrics, now)?;
        self.look_at_newest(siblings, metrics, now)?;
        self.look_at_lingering(now)
    }

    /// Whether a batch should be made now.
    pub(super) fn is_due(&self, now: Instant, settings: &TailSettings) -> bool {
        self.due(settings).is_some_and(|due| due <= now)
    }

    /// When the unread lines are due; at once where they fill a batch, or nothing was sent for a while.
    pub(super) fn due(&self, settings: &TailSettings) -> Option<Instant> {
        let front = self.queue.front()?;
        let unread = front.unread();
        if self.reordered || self.queue.len() > 1 && (unread > 0 || front.is_at_its_end()) {
            return Some(front.grew_at);
        }
        if self.queue.len() > 1 {
            return Some(front.grew_at + if front.rest() == 0 { QUIET } else { UNFINISHED });
        }
        if unread == 0 {
            return None;
        }
        match self.sealed_at {
            Some(sealed_at) if unread < settings.batch_bytes as u64 => Some(sealed_at + settings.batch_wait),
            _ => Some(front.grew_at),
        }
    }

    /// Bytes that could be handed out, of all generations.
    pub(super) fn unread(&self) -> u64 {
        self.queue.iter().map(Generation::unread).sum()
    }

    pub(super) fn state(&self) -> FileState {
        FileState {
            name: self.name.clone(),
            size: self.queue.back().map_or(0, |live| live.size),
            unread: self.queue.iter().map(Generation::rest).sum(),
        }
    }

    /// Makes the next batch, if there are lines for one.
    pub(super) fn next_batch(&mut self, now: Now, workshop: &mut Workshop<'_>) -> Result<Option<Batch>, Surprise> {
        self.move_on(now.instant);
        if self.queue.front().is_none_or(|front| front.unread() == 0) {
            return Ok(self.news());
        }
        let mut before = self.record();
        workshop.batch.start(&self.labels);
        let (clock, depends_on_clock) = self.fill(now, workshop)?;
        let Some(front) = self.queue.front() else { return Ok(None) };
        if before.queue.first().is_some_and(|start| start.position == front.read) {
            return Ok(self.news());
        }
        if depends_on_clock {
            before.clocked = Some(Clocked { until: front.read, now: clock.now, untimed: clock.untimed });
        }
        if self.clocked.is_some_and(|clocked| clocked.until <= front.read) {
            self.clocked = None;
        }
        let write_ahead = depends_on_clock || std::mem::take(&mut self.reordered);
        let entries = workshop.batch.entries();
        let (body, bytes) = workshop.batch.seal(&self.labels);
        self.sealed_at = Some(now.instant);
        Ok(Some(Batch {
            name: self.name.clone(),
            body,
            entries,
            bytes,
            before: write_ahead.then_some(before),
            after: self.record(),
        }))
    }

    /// Where the stream stands, everything handed out included.
    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            chain: self.chain,
            clocked: self.clocked,
            queue: self.queue.iter().map(Generation::record).collect(),
            lingering: self.lingering.iter().map(Generation::record).collect(),
            anchor: self.anchor.clone(),
        }
    }

    /// A batch without entries, to have the order of reading on disk though there is nothing to push.
    fn news(&mut self) -> Option<Batch> {
        let news = std::mem::take(&mut self.reordered) && !self.queue.is_empty();
        news.then(|| Batch {
            name: self.name.clone(),
            body: bytes::Bytes::new(),
            entries: 0,
            bytes: 0,
            before: Some(self.record()),
            after: self.record(),
        })
    }

    /// Leaves the front generation once it is finished and another one waits.
    fn move_on(&mut self, now: Instant) {
        while self.queue.len() > 1 {
            let Some(front) = self.queue.front_mut() else { return };
            if front.unread() > 0 {
                return;
            }
            let quiet = now.saturating_duration_since(front.grew_at);
            let finished = front.is_at_its_end() || front.rest() == 0 && quiet >= QUIET;
            if !finished && front.rest() > 0 && quiet >= UNFINISHED {
                front.end();
                self.reordered = true;
            }
            if !finished {
                return;
            }
            self.reordered = true;
            let Some(done) = self.queue.pop_front() else { return };
            self.anchor = Some(done.record());
            if done.kind == Kind::Rotated {
                self.lingering.push(done);
            }
        }
    }

    /// Appends entries until the batch is full or the lines are used up. Returns the clock they saw, and whether another
    /// clock would have made other entries of them.
    fn fill(&mut self, now: Now, workshop: &mut Workshop<'_>) -> Result<(Clock, bool), Surprise> {
        let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
        let replayed = self.clocked.filter(|clocked| front.read < clocked.until);
        let stop = replayed.map_or(u64::MAX, |clocked| clocked.until);
        let span = (MAX_SPAN * workshop.settings.batch_bytes) as u64;
        let (start, settings) = (front.read, workshop.settings);
        let mut clock = replayed.map(|clocked| Clock { now: clocked.now, untimed: clocked.untimed });
        let mut depends_on_clock = false;
        loop {
            let (bytes, at_end) = match front.read(workshop.chunk) {
                Ok(Ok(read)) => read,
                // What was taken before the surprise is still good; the next call meets it again.
                Ok(Err(Changed)) | Err(_) if front.read > start => break,
                Ok(Err(Changed)) => return Err(Surprise),
                Err(error) => {
                    tracing::warn!(file = %self.name, %error, "failed to read a log file, trying again");
                    return Err(Surprise);
                }
            };
            let clock = *clock.get_or_insert_with(|| {
                let untimed = if self.chain.timed {
                    None
                } else {
                    first_time(bytes, settings.max_line, &mut self.times, now.clock)
                };
                Clock { now: now.clock, untimed: untimed.unwrap_or(now.clock) }
            });
            let oldest = clock.now.saturating_sub(i64::try_from(settings.max_age.as_nanos()).unwrap_or(i64::MAX));
            let (mut used, mut full) = (0, false);
            while let Some(line) = next_line(bytes.get(used..).unwrap_or_default(), settings.max_line, at_end) {
                if !workshop.batch.has_room_for(line.text.len()) || front.read + used as u64 >= stop {
                    full = true;
                    break;
                }
                let (time, source) = self.chain.next(line.text, clock, &mut self.times);
                depends_on_clock |= source.depends_on_clock();
                used += line.consumed;
                if time < oldest {
                    workshop.metrics.skipped_old();
                    if !std::mem::replace(&mut self.told_of_old_entries, true) {
                        tracing::warn!(file = %self.name, max_age = ?settings.max_age, "skipping entries that Loki would reject for their age");
                    }
                    continue;
                }
                workshop.metrics.line(line.cut, workshop.batch.push(time, line.text));
            }
            if used == 0 && !full {
                front.stall();
            }
            let more = used > 0 && !full;
            front.advance(workshop.chunk, used);
            if !more || front.read - start >= span || front.read >= stop || front.rest() == 0 {
                break;
            }
        }
        let clock = clock.unwrap_or(Clock { now: now.clock, untimed: now.clock });
        Ok((clock, depends_on_clock && replayed.is_none()))
    }

    /// The generations before the newest one: only their sizes can surprise.
    fn look_at_rotated(&mut self, metrics: &Metrics, now: Now) -> std::io::Result<()> {
        let older = self.queue.len().saturating_sub(1);
        let mut changed = Vec::new();
        for (i, generation) in self.queue.iter_mut().take(older).enumerate() {
            if generation.look(now.instant)?.is_err() {
                changed.push(i);
            }
        }
        for i in changed.into_iter().rev() {
            if let Some(gone) = self.queue.remove(i) {
                self.reordered = true;
                self.miss(&gone.record(), metrics);
            }
        }
        Ok(())
    }

    /// The newest generation: still live, rotated away, truncated, or the first one ever.
    fn look_at_newest(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<()> {
        let known = if let Some(mut newest) = self.queue.pop_back() {
            let was_empty = newest.is_unknown();
            let still_live = siblings.live.is_some_and(|live| live.inode == newest.inode);
            match newest.look(now.instant)? {
                Ok(()) if newest.kind == Kind::Live && still_live => {
                    if was_empty && !newest.is_unknown() {
                        // Its first bytes may be those of a file that took its place more than once.
                        self.open_younger_than_anchor(siblings, Some(&newest), now)?;
                    }
                    self.queue.push_back(newest);
                    return Ok(());
                }
                Ok(()) => {
                    if newest.kind == Kind::Live {
                        newest.kind = Kind::Rotated;
                    }
                    let inode = newest.inode;
                    self.queue.push_back(newest);
                    Some(inode)
                }
                Err(Changed) => {
                    self.reordered = true;
                    let record = newest.record();
                    if let Some(copy) = siblings.find_copy(&record, now.instant) {
                        let inode = copy.inode;
                        self.queue.push_back(copy);
                        Some(inode)
                    } else {
                        let bytes = newest.rest();
                        metrics.lost(Lost::Truncated, bytes);
                        tracing::warn!(file = %self.name, bytes, "truncated, and no copy holds the unread rest");
                        None
                    }
                }
            }
        } else {
            self.open_younger_than_anchor(siblings, None, now)?;
            None
        };
        if let Some(inode) = known {
            for found in siblings.younger_than(inode) {
                self.open(siblings, found, Kind::Rotated, now)?;
            }
        }
        match siblings.live {
            Some(live) => self.open(siblings, live, Kind::Live, now),
            None => Ok(()),
        }
    }

    /// Opens the rotated files that are younger than the one that was finished last, except a copy of the live file.
    fn open_younger_than_anchor(
        &mut self,
        siblings: &Siblings<'_>,
        live: Option<&Generation>,
        now: Now,
    ) -> std::io::Result<()> {
        let Some(anchor) = self.anchor.as_ref().and_then(|anchor| siblings.find(anchor, now.instant)) else {
            return Ok(());
        };
        if anchor.kind == Kind::Live {
            return Ok(());
        }
        for found in siblings.younger_than(anchor.inode) {
            self.open(siblings, found, Kind::Rotated, now)?;
            let is_copy = |generation: &Generation| {
                live.is_some_and(|live| live.record().head_hash == generation.record().head_hash)
            };
            if self.queue.back().is_some_and(|opened| opened.inode == found.inode && is_copy(opened)) {
                self.queue.pop_back();
            }
        }
        Ok(())
    }

    /// Rotated files that were read to their end: back to the front where they grew, closed where they stayed quiet.
    fn look_at_lingering(&mut self, now: Now) -> std::io::Result<()> {
        for mut generation in std::mem::take(&mut self.lingering) {
            if generation.look(now.instant)?.is_err() {
                continue;
            }
            let unnoticed = generation.size > generation.read.max(generation.ends.unwrap_or(0));
            if unnoticed {
                generation.ends = None;
                self.reordered = true;
                self.queue.push_front(generation);
            } else if now.instant.saturating_duration_since(generation.grew_at) < LINGER {
                self.lingering.push(generation);
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        siblings: &Siblings<'_>,
        found: &crate::discover::Found,
        kind: Kind,
        now: Now,
    ) -> std::io::Result<()> {
        let known = self
            .queue
            .iter()
            .chain(&self.lingering)
            .any(|known| known.inode == found.inode && known.kind != Kind::Copy);
        if known {
            return Ok(());
        }
        let Some(file) = siblings.open(found)? else { return Ok(()) };
        let mut generation = Generation::new(file, found.inode, kind, now.instant);
        if generation.look(now.instant)?.is_ok() {
            self.reordered = true;
            self.queue.push_back(generation);
        }
        Ok(())
    }

    fn miss(&self, generation: &GenerationRecord, metrics: &Metrics) {
        metrics.lost(Lost::Missing, 0);
        tracing::warn!(
            file = %self.name,
            inode = generation.inode,
            position = generation.position,
            "a file that was not read to its end is gone, and no copy of it was found"
        );
    }
}

/// The time for lines before the first one that tells its own, so that they sort right before it.
fn first_time(bytes: &[u8], max_line: usize, times: &mut TimeReader, now: i64) -> Option<i64> {
    let (mut used, mut lines) = (0, 0);
    while let Some(line) = next_line(bytes.get(used..)?, max_line, false) {
        if let Some(time) = times.read(line.text) {
            return (time <= now).then(|| time.saturating_sub(lines));
        }
        used += line.consumed;
        lines += 1;
    }
    None
}
