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
use crate::discover::Inode;
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
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no states of one machine")]
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
    /// Whether there are generations that the record on disk does not know.
    reordered: bool,
    /// Whether the order of reading was decided by the clock, so that it must be on disk before anything is pushed.
    write_ahead: bool,
    /// Whether lines may be handed out that were pushed before a restart. Until those are through, the order of reading
    /// stays as it is on disk, whatever has grown since.
    replaying: bool,
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
            write_ahead: true,
            replaying: false,
            sealed_at: None,
            told_of_old_entries: false,
        }
    }

    /// Takes the stream up where `record` left it.
    pub(super) fn resume(&mut self, record: &StreamRecord, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) {
        self.chain = record.chain;
        self.clocked = record.clocked;
        self.replaying = true;
        self.anchor.clone_from(&record.anchor);
        for (i, generation) in record.queue.iter().enumerate() {
            if let Some(mut found) = siblings.find(generation, now) {
                found.confirmed = true;
                self.queue.push_back(found);
                continue;
            }
            if i == 0 {
                self.clocked = None;
            }
            if !siblings.have_moved() {
                self.miss(generation, metrics);
            }
        }
        for generation in &record.lingering {
            self.lingering.extend(siblings.find(generation, now).filter(|found| found.kind == Kind::Rotated));
        }
    }

    /// Says that the stream is seen for the first time: what was rotated away before is none of our business.
    pub(super) fn begin(&mut self, siblings: &Siblings<'_>, now: Now) {
        self.anchor = siblings.youngest(now).map(|youngest| youngest.record());
    }

    /// Looks at the live file and the rotated ones, and follows what happened to them. Whether another look at a new
    /// listing is needed is returned: what a file holds is only to be trusted if it held it before the listing was made.
    pub(super) fn look(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        self.look_at_rotated(metrics, now)?;
        let again = self.look_at_newest(siblings, metrics, now)?;
        self.look_at_lingering(now)?;
        Ok(again)
    }

    /// Whether a batch should be made now.
    pub(super) fn is_due(&self, now: Instant, settings: &TailSettings) -> bool {
        self.due(settings).is_some_and(|due| due <= now)
    }

    /// When the unread lines are due; at once where they fill a batch, or nothing was sent for a while.
    pub(super) fn due(&self, settings: &TailSettings) -> Option<Instant> {
        let front = self.queue.front()?;
        let unread = front.unread();
        if self.reordered || self.write_ahead || self.queue.len() > 1 && (unread > 0 || front.is_at_its_end()) {
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
        workshop.batch.start(&self.labels, &self.name);
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
        let write_ahead = depends_on_clock | std::mem::take(&mut self.write_ahead);
        self.reordered = false;
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

    /// Says that what [`Self::record`] returns is on disk.
    pub(super) fn recorded(&mut self) {
        self.reordered = false;
        self.write_ahead = false;
    }

    /// Where the stream stands, everything handed out included.
    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            chain: self.chain,
            clocked: self.clocked,
            queue: self.queue.iter().filter(|known| known.confirmed).map(Generation::record).collect(),
            lingering: self.lingering.iter().map(Generation::record).collect(),
            anchor: self.anchor.clone(),
        }
    }

    /// A batch without entries, to have the order of reading on disk though there is nothing to push.
    fn news(&mut self) -> Option<Batch> {
        let news = (std::mem::take(&mut self.reordered) | self.write_ahead) && !self.queue.is_empty();
        news.then(|| Batch {
            name: self.name.clone(),
            body: bytes::Bytes::new(),
            entries: 0,
            bytes: 0,
            before: std::mem::take(&mut self.write_ahead).then(|| self.record()),
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
                self.write_ahead = true;
            }
            if !finished {
                return;
            }
            self.reordered = true;
            // Had it grown a moment later, its lines would have come first.
            self.write_ahead |= !front.is_at_its_end();
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

    /// The generations that are not live any more: only their content can surprise.
    fn look_at_rotated(&mut self, metrics: &Metrics, now: Now) -> std::io::Result<()> {
        let mut gone = Vec::new();
        for (i, generation) in self.queue.iter_mut().enumerate() {
            if generation.kind != Kind::Live && generation.look(now.instant)?.is_err() {
                gone.push(i);
            }
        }
        for i in gone.into_iter().rev() {
            if let Some(gone) = self.queue.remove(i) {
                self.reordered = true;
                self.miss(&gone.record(), metrics);
            }
        }
        Ok(())
    }

    /// The live file: as it was, rotated away, truncated, or seen for the first time.
    fn look_at_newest(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        let unconfirmed = self.queue.pop_back_if(|newest| !newest.confirmed);
        if let Some(newest) = self.queue.back_mut().filter(|newest| newest.kind == Kind::Live) {
            let still_live = siblings.live.is_some_and(|live| live.inode == newest.inode);
            match newest.look(now.instant)? {
                Ok(()) if still_live => return Ok(false),
                Ok(()) => newest.kind = Kind::Rotated,
                // The listing may be older than the change, and the copy not in it.
                Err(Changed) if !std::mem::replace(&mut newest.suspect, true) => return Ok(true),
                Err(Changed) => {
                    if let Some(copy) = siblings.find_copy(&newest.record(), now) {
                        *newest = copy;
                    } else if siblings.have_moved() {
                        return Ok(true);
                    } else {
                        let bytes = newest.rest();
                        metrics.lost(Lost::Truncated, bytes);
                        tracing::warn!(file = %self.name, bytes, "truncated, and no copy holds the unread rest");
                        self.queue.pop_back();
                    }
                    self.reordered = true;
                }
            }
        }
        let live = match siblings.live {
            Some(live) => siblings.opened(live, Kind::Live, now)?,
            None => None,
        };
        self.open_unknown(siblings, live.as_ref(), now)?;
        let Some(mut live) = live.filter(|_| !siblings.have_moved()) else { return Ok(siblings.have_moved()) };
        // If it began like this at the look before, it did so before this listing: everything before it is in there.
        live.confirmed = !live.is_unknown() && unconfirmed.is_some_and(|before| before.is_same(&live));
        self.reordered |= live.confirmed;
        let again = !live.confirmed && !live.is_unknown();
        self.queue.push_back(live);
        Ok(again)
    }

    /// Opens the rotated files that are younger than the last one that is known, except a copy of the live file that
    /// is still being made.
    fn open_unknown(&mut self, siblings: &Siblings<'_>, live: Option<&Generation>, now: Now) -> std::io::Result<()> {
        let after = match (self.queue.back(), &self.anchor) {
            (Some(before), _) => Some(before.inode),
            (None, Some(anchor)) if siblings.is_youngest(anchor) => return Ok(()),
            (None, Some(anchor)) => match siblings.find(anchor, now) {
                Some(anchor) if anchor.kind != Kind::Live => Some(anchor.inode),
                _ => return Ok(()),
            },
            (None, None) => None,
        };
        for found in siblings.younger_than(after) {
            if self.is_open(found.inode) {
                continue;
            }
            let Some(generation) = siblings.opened(found, Kind::Rotated, now)? else { return Ok(()) };
            if generation.is_unknown() || live.is_some_and(|live| live.begins_like(&generation)) {
                continue;
            }
            self.reordered = true;
            self.queue.push_back(generation);
        }
        Ok(())
    }

    /// Rotated files that were read to their end: back to the front where they grew, closed where they stayed quiet.
    fn look_at_lingering(&mut self, now: Now) -> std::io::Result<()> {
        self.replaying &= self.queue.iter().any(Generation::may_have_lines);
        if self.replaying {
            return Ok(());
        }
        for mut generation in std::mem::take(&mut self.lingering) {
            if generation.look(now.instant)?.is_err() {
                continue;
            }
            let unnoticed = generation.size > generation.read.max(generation.ends.unwrap_or(0));
            if unnoticed {
                generation.ends = None;
                self.write_ahead = true;
                self.queue.push_front(generation);
            } else if now.instant.saturating_duration_since(generation.grew_at) < LINGER {
                self.lingering.push(generation);
            }
        }
        Ok(())
    }

    fn is_open(&self, inode: Inode) -> bool {
        self.queue.iter().chain(&self.lingering).any(|known| known.inode == inode)
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
