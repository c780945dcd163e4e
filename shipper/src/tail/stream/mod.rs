//! One log file through all its generations: the order of reading, and when a batch is due.
//!
//! Generations are read one after the other, never mixed: the time of an entry depends on the entry before it. After the
//! order changed, the position record is saved before the next push, so that a resend reads in the same order.

mod fill;
mod held;
mod observe;
mod reopen;
mod replay;
#[cfg(test)]
mod testing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use replay::Until;

use findings::Code;

use super::file_state::FileState;
use super::generation::{Generation, Kind};
use super::now::Now;
use super::rotated::Siblings;
use super::settings::TailSettings;
use crate::batch::{Batch, BatchBuffer};
use crate::discover::{Found, Inode};
use crate::drop::Drops;
use crate::entries::Chain;
use crate::formats::TimeReader;
use crate::labels;
use crate::metrics::{Lost, Metrics};
use crate::redaction::Redactor;
use crate::state::{Clocked, GenerationRecord, Record, StreamRecord};

/// A fully read rotated file that did not grow for this long is finished, and the next file follows.
const QUIET: Duration = Duration::from_secs(1);
/// A rotated file whose last line is unfinished gets this long for the rest of the line.
const UNFINISHED: Duration = Duration::from_secs(5);
/// A finished rotated file stays open for this long, in case its writer has not noticed the rotation.
const LINGER: Duration = Duration::from_mins(1);
/// A batch reads at most this many times its own size from a file, even if it skips many lines.
const MAX_SPAN: usize = 4;
/// A file that could not be read is retried after this long.
const RETRY: Duration = Duration::from_secs(1);

/// The file changed while it was read: the stream needs a new scan.
#[derive(Debug)]
pub(super) struct Surprise;

/// What the tail lends to a stream to make a batch.
pub(super) struct Workshop<'a> {
    pub(super) settings: &'a TailSettings,
    pub(super) metrics: &'a Metrics,
    pub(super) chunk: &'a mut [u8],
    pub(super) batch: &'a mut BatchBuffer,
    pub(super) redactor: &'a mut Redactor,
    pub(super) drops: &'a Drops,
}

/// One log file.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no states of one machine")]
pub(super) struct Stream {
    /// The live file's name.
    pub(super) name: Arc<str>,
    labels: String,
    times: TimeReader,
    /// The buffer for a text that differs from the bytes of the file.
    scratch: Vec<u8>,
    chain: Chain,
    queue: VecDeque<Generation>,
    lingering: Vec<Generation>,
    /// The youngest finished generation. Rotated files younger than it are unread.
    anchor: Option<GenerationRecord>,
    /// The youngest rotated file at the last scan. It replaces the anchor if that file is deleted.
    beside: Option<GenerationRecord>,
    /// Whether the position record must be saved before the next push: the clock or the order of events decided about the
    /// next entries, or the record on disk lacks a generation.
    write_ahead: bool,
    /// Whether the next lines may have been pushed before a restart. Until those are read again, the order of reading stays
    /// as it is on disk, even if other files grow.
    replaying: bool,
    /// When the last batch was made.
    sealed_at: Option<Instant>,
    /// Why a file could not be read, and when to retry.
    failed: Option<(String, Instant)>,
    /// Damaged archives.
    damaged: Vec<Inode>,
    old_entries_logged: bool,
    /// Whether the stream is held: Loki refuses its pushes.
    pub(super) held: bool,
    /// Since when there is neither a live file nor a rotated file.
    gone_since: Option<Instant>,
}

impl Stream {
    fn new(name: &str, labels: String, times: TimeReader) -> Self {
        Self {
            name: name.into(),
            labels,
            times,
            scratch: Vec::new(),
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

    /// The stream of a file with this name: its own stream in Loki, or a slot in the shared stream.
    pub(super) fn of(name: &str, slot: Option<u16>, settings: &TailSettings) -> Self {
        let log_file = if slot.is_some() { labels::SHARED } else { labels::stem(name) };
        let mut stream = Self::new(name, settings.labels.stream(log_file), TimeReader::new(settings.zone.clone()));
        stream.chain.slot = slot;
        stream
    }

    /// The slot of the file in the shared stream.
    pub(super) fn slot(&self) -> Option<u16> {
        self.chain.slot
    }

    /// Resumes the stream at its positions in `record`.
    pub(super) fn resume(&mut self, record: &StreamRecord, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) {
        self.chain = record.chain;
        self.replaying = true;
        self.anchor.clone_from(&record.anchor);
        self.beside.clone_from(&record.beside);
        let last = record.queue.len().saturating_sub(1);
        for (i, generation) in record.queue.iter().enumerate() {
            let found = self.found_again(generation, siblings, now);
            // A wrong match for an unread file skips nothing.
            let is_rewrite =
                generation.position == 0 && generation.head_len > 0 || self.proves_rewrite(generation.position);
            let rewritten = || siblings.find_rewritten(generation, now).filter(|_| i == last && is_rewrite);
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
            // A file that was empty has only its inode, which may be reused by now.
            let may_be_it = found.kind == Kind::Rotated || found.kind == Kind::Copy && generation.head_len > 0;
            if may_be_it && !self.has_open(found.inode) {
                found.clear_end();
                self.lingering.push(found.finished_at(now.instant));
            }
        }
    }

    /// Finds the next file of a record: by inode, as a rewritten file, or as a copy.
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
            // Any match is better than losing the unread lines.
            (None, None) => siblings.find_copy(record, now).filter(|found| !self.has_open(found.inode)),
            (found, copy) => copy.or(found),
        }
    }

    /// Starts a new stream. Files that were rotated before are not shipped.
    pub(super) fn begin(&mut self, siblings: &Siblings<'_>) {
        self.anchor = siblings.youngest_before();
    }

    /// Continues after `file`, if its file was read under another name before.
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

    /// The inodes of the open files.
    pub(super) fn open_inodes(&self) -> impl Iterator<Item = Inode> {
        self.queue.iter().chain(&self.lingering).map(|known| known.inode)
    }

    /// The inode number of the anchor.
    pub(super) fn finished_inode(&self) -> Option<u64> {
        self.anchor.as_ref().map(|anchor| anchor.inode)
    }

    /// Since when there is neither a live file nor a rotated file.
    pub(super) fn gone_since(&self) -> Option<Instant> {
        self.gone_since
    }

    /// The anchor's record, if `found` is the anchor.
    pub(super) fn has_finished(&self, found: &Found) -> Option<(Chain, &GenerationRecord)> {
        let anchor = self.anchor.as_ref().filter(|anchor| super::identity::is_inode(anchor, found.inode))?;
        Some((self.chain, anchor))
    }

    /// Whether a batch is due now.
    pub(super) fn is_due(&self, now: Instant, settings: &TailSettings) -> bool {
        self.due(settings).is_some_and(|due| due <= now)
    }

    /// When the unread lines are due: at once if they fill a batch, or if no batch was made for a while.
    pub(super) fn due(&self, settings: &TailSettings) -> Option<Instant> {
        let due = self.wanted(settings)?;
        Some(self.failed.as_ref().map_or(due, |(_, retry_at)| due.max(*retry_at)))
    }

    fn wanted(&self, settings: &TailSettings) -> Option<Instant> {
        let front = self.queue.front().filter(|_| !self.held)?;
        let unread = front.unread();
        let others_wait = self.queue.len() > 1;
        if self.write_ahead || others_wait && (unread > 0 || front.is_at_its_end()) {
            return Some(front.grew_at);
        }
        if unread == 0
            && let Some(gone) = self.closes_only_file_at()
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

    /// Declares the last text complete if no line followed it for a while.
    pub(super) fn decide(&mut self, now: Instant) {
        if let Some(front) = self.queue.front_mut()
            && front.closes_at().is_some_and(|at| at <= now)
        {
            front.close();
            self.write_ahead = true;
        }
    }

    /// Whether every complete line is read.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.iter().all(|generation| generation.unread() == 0 && generation.closes_at().is_none())
    }

    /// The last time that one of its files grew.
    pub(super) fn grew_at(&self) -> Option<Instant> {
        self.queue.iter().chain(&self.lingering).map(|generation| generation.grew_at).max()
    }

    pub(super) fn state(&mut self) -> FileState {
        let front = self.queue.front_mut();
        FileState {
            name: self.name.clone(),
            position: front.as_ref().map_or(0, |front| front.read),
            front: front.as_ref().map(|front| (front.inode.inode, front.grew_at)),
            unread_since: front.and_then(Generation::waits_since),
            size: self.queue.back().map_or(0, |live| live.size),
            unread: self.queue.iter().map(Generation::rest).sum(),
            generations: self.queue.len(),
            error: self.failed.as_ref().map(|(error, _)| error.clone()),
        }
    }

    /// Makes the next batch. `None` if there are no lines for one.
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
        let front_read = front.read;
        if let Some(clock) = filled {
            // The other lines that are there by now see the same clock, so that one saved record covers them all.
            let clocked = Clocked { until: front.read.max(front.size), now: clock.now, untimed: clock.untimed };
            front.set_clock(clocked);
            if let Some(front) = before.queue.first_mut() {
                front.clocked = Some(clocked);
            }
        }
        let write_ahead = filled.is_some() | std::mem::take(&mut self.write_ahead);
        let (entries, times, read) = (workshop.batch.entries(), workshop.batch.times(), front_read - start);
        let (body, bytes) = workshop.batch.seal(&self.labels);
        self.sealed_at = Some(now.instant);
        // If these entries saw a clock from the record, they must not see another one after a crash.
        if write_ahead && !clocked {
            before.chain.knows(now.clock);
            self.chain.knows(now.clock);
        }
        let before = if write_ahead { self.named(before) } else { Record::new() };
        let after = Some(self.record());
        Ok(Some(Batch { name: self.name.clone(), body, entries, bytes, times, read, since, before, after }))
    }

    /// Whether the next lines may have been pushed before a restart. Then their times must stay the same.
    fn may_resend(&self) -> bool {
        self.replaying && !self.queue.iter().all(Generation::is_past_resends)
    }

    /// Notes that [`Self::record`] is saved.
    pub(super) fn recorded(&mut self) {
        self.write_ahead = false;
    }

    /// Returns the record if it must be saved before the next push. The caller saves it.
    pub(super) fn take_write_ahead(&mut self) -> Option<StreamRecord> {
        std::mem::take(&mut self.write_ahead).then(|| self.record())
    }

    /// The positions of the stream. Everything in a batch counts as read.
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

    /// A batch without entries that only saves the record. `None` if nothing must be saved.
    fn record_only_batch(&mut self) -> Option<Batch> {
        let before = self.take_write_ahead()?;
        Some(Batch::without_entries(self.name.clone(), self.named(before), Some(self.record())))
    }

    /// Closes the front generation once it is finished and another one waits, or once it is deleted: an open descriptor
    /// keeps its bytes on the disk.
    fn move_on(&mut self, now: Instant) {
        loop {
            let alone = self.queue.len() == 1;
            if alone && self.closes_only_file_at().is_none_or(|gone| gone > now) {
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
            // The order must be saved: had the file grown a moment later, its lines would have come first.
            self.write_ahead = true;
            let Some(done) = self.queue.pop_front() else { return };
            let is_anchor = |anchor: &GenerationRecord| super::identity::is_inode(anchor, done.inode);
            if !done.late || self.anchor.as_ref().is_some_and(is_anchor) {
                self.anchor = Some(done.record());
            }
            // A late file may be the new anchor. Closing it decides that.
            if done.late || done.kind == Kind::Rotated && !alone {
                self.lingering.push(done.finished_at(now));
            }
        }
    }

    /// Whether `same` shared leading bytes prove a rewrite, rather than a common banner.
    fn proves_rewrite(&self, same: u64) -> bool {
        same > 0 && (self.chain.timed || same >= super::identity::HEAD as u64)
    }

    /// A file could not be read. Logs each new reason once.
    fn fail(&mut self, error: &str, retry_at: Instant) {
        if self.failed.as_ref().is_none_or(|(before, _)| before != error) {
            let code = Code::LogsUnreadable.as_str();
            tracing::warn!(code, file = %self.name, error, "failed to read a log file, retrying");
        }
        self.failed = Some((error.to_owned(), retry_at));
    }

    /// A file is gone that was fully read at the last scan. If a new file took its name, the old one may have got more lines
    /// before.
    fn count_possibly_missing(&self, siblings: &Siblings<'_>, metrics: &Metrics) {
        if !siblings.are_gone() {
            metrics.possibly_lost(Lost::Missing, 0);
        }
        tracing::info!(file = %self.name, "a fully read file is gone; lines written to it since the last scan are lost");
    }

    /// A file with unread lines is gone.
    fn count_missing(&self, generation: &GenerationRecord, metrics: &Metrics) {
        metrics.lost(Lost::Missing, 0);
        tracing::warn!(
            code = Code::LinesLost.as_str(),
            file = %self.name,
            inode = generation.inode,
            position = generation.position,
            "a file with unread lines is gone, and no rotated file has its content"
        );
    }
}
