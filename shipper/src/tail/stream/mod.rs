//! One log file through all its generations: the order of reading, and when it is time for a batch.
//!
//! Generations are read one after the other, never mixed: an entry's time depends on the entry before it. The first batch
//! after the order changed is written ahead into the position record, so that a resend goes the same way.

mod fill;
mod held;
mod observe;
mod reopen;
#[cfg(test)]
mod testing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::generation::{Generation, Kind};
use super::rotated::Siblings;
use super::{FileState, Now, TailSettings};
use crate::batch::{Batch, BatchBuffer};
use crate::discover::{Found, Inode};
use crate::entries::Chain;
use crate::formats::TimeReader;
use crate::metrics::{Lost, Metrics};
use crate::state::{Clocked, GenerationRecord, Record, StreamRecord};

/// A rotated file that did not grow for this long gives way to the next one.
const QUIET: Duration = Duration::from_secs(1);
/// A rotated file whose last line is unfinished is given this long to finish it.
const UNFINISHED: Duration = Duration::from_secs(5);
/// A rotated or deleted file is looked after this long in case its writer has not noticed.
const LINGER: Duration = Duration::from_mins(1);
/// A batch covers at most this many times its own size of the file, however many of its lines are skipped.
const MAX_SPAN: usize = 4;
/// A file that could not be read is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

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
    queue: VecDeque<Generation>,
    lingering: Vec<Generation>,
    /// The generation that was finished last: rotated files younger than it are news.
    anchor: Option<GenerationRecord>,
    /// The youngest rotated file at the last look, in case that one is deleted.
    beside: Option<GenerationRecord>,
    /// Whether the clock or the order of events decided about the next entries, or there are generations that the record on
    /// disk does not know, so that it must be on disk before anything is pushed.
    write_ahead: bool,
    /// Whether lines may be handed out that were pushed before a restart. Until those are through, the order of reading
    /// stays as it is on disk, whatever has grown since.
    replaying: bool,
    /// When lines were handed out last.
    sealed_at: Option<Instant>,
    /// A file could not be read: why, and when to try again.
    failed: Option<(String, Instant)>,
    /// Compressed copies that cannot be read.
    damaged: Vec<Inode>,
    old_entries_logged: bool,
    /// Whether nothing may be handed out, because Loki refuses the stream.
    pub(super) held: bool,
    /// Since when nothing stands under its name, or any of its copies'.
    gone_since: Option<Instant>,
}

impl Stream {
    pub(super) fn new(name: &str, labels: String, times: TimeReader) -> Self {
        Self {
            name: name.into(),
            labels,
            times,
            chain: Chain::default(),
            queue: VecDeque::new(),
            lingering: Vec::new(),
            anchor: None,
            beside: None,
            write_ahead: true,
            replaying: false,
            sealed_at: None,
            failed: None,
            damaged: Vec::new(),
            old_entries_logged: false,
            held: false,
            gone_since: None,
        }
    }

    /// Says which place the file has among those that share a stream of Loki, if it shares one.
    pub(super) fn share(&mut self, slot: Option<u16>) {
        self.chain.slot = slot;
    }

    /// The place among the files that share a stream of Loki.
    pub(super) fn slot(&self) -> Option<u16> {
        self.chain.slot
    }

    /// Takes the stream up where `record` left it.
    pub(super) fn resume(&mut self, record: &StreamRecord, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) {
        self.chain = record.chain;
        self.replaying = true;
        self.anchor.clone_from(&record.anchor);
        self.beside.clone_from(&record.beside);
        let last = record.queue.len().saturating_sub(1);
        for (i, generation) in record.queue.iter().enumerate() {
            let found = self.found_again(generation, siblings, now);
            // Of one that was not read yet nothing can be skipped by mistake.
            let may_be =
                generation.position == 0 && generation.head_len > 0 || self.proves_rewrite(generation.position);
            let rewritten = || siblings.find_rewritten(generation, now).filter(|_| i == last && may_be);
            if let Some(mut found) = found.or_else(rewritten) {
                found.confirmed = true;
                self.queue.push_back(found);
                continue;
            }
            if !siblings.are_stale() {
                if generation.size.is_some_and(|size| size <= generation.position) {
                    self.count_possibly_missing(siblings, metrics);
                } else {
                    self.count_missing(generation, metrics);
                }
                if i == last {
                    self.newest_is_gone();
                }
            }
        }
        for generation in &record.lingering {
            let Some(mut found) = siblings.find(generation, now) else { continue };
            // A file that was empty is known by its inode alone, which another one may have by now.
            let may_be_it = found.kind == Kind::Rotated || found.kind == Kind::Copy && generation.head_len > 0;
            if may_be_it && !self.has_open(found.inode) {
                found.clear_end();
                self.lingering.push(found.left_at(now.instant));
            }
        }
    }

    /// The next file of a record, by whatever it can be known.
    fn found_again(&mut self, record: &GenerationRecord, siblings: &Siblings<'_>, now: Now) -> Option<Generation> {
        let ambiguous = record.head_len > 0 && record.position < super::identity::MARKER as u64;
        if !ambiguous || record.late {
            let found = siblings.find_by_inode(record, now);
            let found = found.or_else(|| siblings.find_rewritten_and_rotated(record, now));
            return found.or_else(|| siblings.find_copy(record, now)).filter(|found| !self.has_open(found.inode));
        }
        let found = siblings.find_by_inode(record, now);
        let mut copy = self.find_ambiguous(record, self.queue.len(), siblings, now).ok().flatten();
        if let (Some(copy), false) = (&mut copy, siblings.contain(record)) {
            copy.treat_as_rotated();
        }
        match (found, copy) {
            (Some(found), Some(copy)) if found.kind == Kind::Live && copy.is_beginning_of(&found).ok()? => Some(found),
            // Whatever fits is better than to lose the rest.
            (None, None) => siblings.find_copy(record, now).filter(|found| !self.has_open(found.inode)),
            (found, copy) => copy.or(found),
        }
    }

    /// Says that the stream is seen for the first time: what was rotated away before is none of our business.
    pub(super) fn begin(&mut self, siblings: &Siblings<'_>) {
        self.anchor = siblings.youngest_before();
    }

    /// Says that its file was read up to here under another name, if it was.
    pub(super) fn take_over(&mut self, chain: Chain, file: &GenerationRecord, siblings: &Siblings<'_>, now: Now) {
        if let Some(mut found) = siblings.live_from(file, now) {
            self.chain = Chain { slot: self.chain.slot, ..chain };
            found.confirmed = true;
            self.queue.push_back(found);
        }
    }

    /// Whether the file is open.
    pub(super) fn has_open(&self, inode: Inode) -> bool {
        self.queue.iter().chain(&self.lingering).any(|known| known.inode == inode)
    }

    /// The files that are open.
    pub(super) fn open_inodes(&self) -> impl Iterator<Item = Inode> {
        self.queue.iter().chain(&self.lingering).map(|known| known.inode)
    }

    /// The number of the inode of the file that was finished last.
    pub(super) fn finished_inode(&self) -> Option<u64> {
        self.anchor.as_ref().map(|anchor| anchor.inode)
    }

    /// Since when nothing stands under its name, or any of its copies'.
    pub(super) fn gone_since(&self) -> Option<Instant> {
        self.gone_since
    }

    /// How far the file was read that was finished last, if it is this one.
    pub(super) fn has_finished(&self, found: &Found) -> Option<(Chain, &GenerationRecord)> {
        let anchor = self.anchor.as_ref().filter(|anchor| super::identity::is_inode(anchor, found.inode))?;
        Some((self.chain, anchor))
    }

    /// Whether a batch should be made now.
    pub(super) fn is_due(&self, now: Instant, settings: &TailSettings) -> bool {
        self.due(settings).is_some_and(|due| due <= now)
    }

    /// When the unread lines are due; at once where they fill a batch, or nothing was sent for a while.
    pub(super) fn due(&self, settings: &TailSettings) -> Option<Instant> {
        let due = self.wanted(settings)?;
        Some(self.failed.as_ref().map_or(due, |(_, again)| due.max(*again)))
    }

    fn wanted(&self, settings: &TailSettings) -> Option<Instant> {
        let front = self.queue.front().filter(|_| !self.held)?;
        let unread = front.unread();
        let others_wait = self.queue.len() > 1;
        if self.write_ahead || others_wait && (unread > 0 || front.is_at_its_end()) {
            return Some(front.grew_at);
        }
        if unread == 0
            && let Some(gone) = self.gone_at()
        {
            return Some(front.closes_at().unwrap_or(gone));
        }
        if others_wait {
            let finished = front.grew_at + if front.rest() == 0 { QUIET } else { UNFINISHED };
            return Some(front.closes_at().map_or(finished, |closes| closes.min(finished)));
        }
        let ready = if unread > 0 { front.grew_at } else { front.closes_at()? };
        match self.sealed_at {
            Some(sealed_at) if unread < settings.batch_bytes as u64 => Some(ready.max(sealed_at + settings.batch_wait)),
            _ => Some(ready),
        }
    }

    /// Takes the last text for complete if nothing followed it for a while.
    pub(super) fn decide(&mut self, now: Instant) {
        if let Some(front) = self.queue.front_mut()
            && front.closes_at().is_some_and(|at| at <= now)
        {
            front.close();
            self.write_ahead = true;
        }
    }

    /// Whether every complete line is handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.iter().all(|generation| generation.unread() == 0 && generation.closes_at().is_none())
    }

    /// When one of its files grew last.
    pub(super) fn grew_at(&self) -> Option<Instant> {
        self.queue.iter().chain(&self.lingering).map(|generation| generation.grew_at).max()
    }

    pub(super) fn state(&mut self) -> FileState {
        let front = self.queue.front_mut();
        FileState {
            name: self.name.clone(),
            position: front.as_ref().map_or(0, |front| front.read),
            unread_since: front.and_then(Generation::waits_since),
            size: self.queue.back().map_or(0, |live| live.size),
            unread: self.queue.iter().map(Generation::rest).sum(),
            generations: self.queue.len(),
            error: self.failed.as_ref().map(|(error, _)| error.clone()),
        }
    }

    /// Makes the next batch, if there are lines for one.
    pub(super) fn next_batch(&mut self, now: Now, workshop: &mut Workshop<'_>) -> Result<Option<Batch>, Surprise> {
        self.move_on(now.instant);
        let Some(front) = self.queue.front_mut().filter(|front| front.unread() > 0) else {
            return Ok(self.record_only_batch());
        };
        let (start, since, clocked) = (front.read, front.waits_since(), front.clocked.is_some());
        let restarted = !clocked && !self.may_resend() && self.chain.restart(now.clock);
        self.write_ahead |= restarted;
        let mut before = self.record();
        workshop.batch.start(&self.labels, &self.name);
        let filled = self.fill(now, workshop)?;
        let Some(front) = self.queue.front_mut() else { return Ok(None) };
        if front.read == start {
            return Ok(self.record_only_batch());
        }
        if let Some(clock) = filled {
            // The lines after these see the same clock: one record for all that is there by now.
            let clocked = Clocked { until: front.read.max(front.size), now: clock.now, untimed: clock.untimed };
            front.see(clocked);
            if let Some(front) = before.queue.first_mut() {
                front.clocked = Some(clocked);
            }
        }
        let write_ahead = filled.is_some() | std::mem::take(&mut self.write_ahead);
        let entries = workshop.batch.entries();
        let (body, bytes) = workshop.batch.seal(&self.labels);
        self.sealed_at = Some(now.instant);
        // These entries saw the clock that was written ahead before, and must not see another one after a crash.
        if write_ahead && !clocked {
            before.chain.knows(now.clock);
            self.chain.knows(now.clock);
        }
        let before = if write_ahead { self.named(before) } else { Record::new() };
        let after = Some(self.record());
        Ok(Some(Batch { name: self.name.clone(), body, entries, bytes, since, before, after }))
    }

    /// Whether the next lines may have been pushed before a restart, so that their times must stay what they were.
    fn may_resend(&self) -> bool {
        self.replaying && !self.queue.iter().all(Generation::is_past_resends)
    }

    /// Says that what [`Self::record`] returns is on disk.
    pub(super) fn recorded(&mut self) {
        self.write_ahead = false;
    }

    /// What must be on disk before anything is pushed; it will be.
    pub(super) fn take_write_ahead(&mut self) -> Option<StreamRecord> {
        std::mem::take(&mut self.write_ahead).then(|| self.record())
    }

    /// Where the stream stands, everything handed out included.
    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            chain: self.chain,
            queue: self.queue.iter().filter(|known| known.confirmed).map(Generation::record).collect(),
            lingering: self.lingering.iter().filter(|known| known.is_identifiable()).map(Generation::record).collect(),
            anchor: self.anchor.clone(),
            beside: self.beside.clone(),
        }
    }

    fn named(&self, record: StreamRecord) -> Record {
        Record::from([(self.name.to_string(), record)])
    }

    /// A batch without entries, if need be, to have the order of reading on disk though there is nothing to push.
    fn record_only_batch(&mut self) -> Option<Batch> {
        let before = self.take_write_ahead()?;
        Some(Batch::without_entries(self.name.clone(), self.named(before), Some(self.record())))
    }

    /// Leaves the front generation once it is finished and another one waits, or it is gone: its bytes may be kept on the
    /// disk by us alone.
    fn move_on(&mut self, now: Instant) {
        loop {
            let alone = self.queue.len() == 1;
            if alone && self.gone_at().is_none_or(|gone| gone > now) {
                return;
            }
            let Some(front) = self.queue.front_mut() else { return };
            if front.unread() > 0 {
                return;
            }
            let quiet = now.saturating_duration_since(front.grew_at);
            let finished = front.is_at_its_end() || front.rest() == 0 && quiet >= QUIET;
            if !finished && front.rest() > 0 && quiet >= UNFINISHED {
                front.mark_end();
                self.write_ahead = true;
            }
            if !finished {
                return;
            }
            // Had it grown a moment later, its lines would have come first.
            self.write_ahead = true;
            let Some(done) = self.queue.pop_front() else { return };
            let is_anchor = |anchor: &GenerationRecord| super::identity::is_inode(anchor, done.inode);
            if !done.late || self.anchor.as_ref().is_some_and(is_anchor) {
                self.anchor = Some(done.record());
            }
            // A late file may be the new anchor. Closing it decides that.
            if done.late || done.kind == Kind::Rotated && !alone {
                self.lingering.push(done.left_at(now));
            }
        }
    }

    /// Whether a file that begins with as many bytes of another one can only be that one, written anew, and not by chance,
    /// as two files can begin with the same banner.
    fn proves_rewrite(&self, same: u64) -> bool {
        same > 0 && (self.chain.timed || same >= super::identity::HEAD as u64)
    }

    /// A file could not be read; each new reason is told once.
    fn fail(&mut self, error: &str, again: Instant) {
        if self.failed.as_ref().is_none_or(|(before, _)| before != error) {
            tracing::warn!(file = %self.name, error, "failed to read a log file, retrying");
        }
        self.failed = Some((error.to_owned(), again));
    }

    /// A file is gone that was read to its end when it was seen last. Where another one has its name, more may have been
    /// written to it before.
    fn count_possibly_missing(&self, siblings: &Siblings<'_>, metrics: &Metrics) {
        if !siblings.are_gone() {
            metrics.lost(Lost::Missing, 0);
        }
        tracing::info!(file = %self.name, "a file that was read to its end is gone; lines written to it since are lost");
    }

    fn count_missing(&self, generation: &GenerationRecord, metrics: &Metrics) {
        metrics.lost(Lost::Missing, 0);
        tracing::warn!(
            file = %self.name,
            inode = generation.inode,
            position = generation.position,
            "a file that was not read to its end is gone, and no copy of it was found"
        );
    }
}
