//! One file of a stream: the live file, or a rotated file.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::content::Content;
use super::growth::Growth;
use super::identity::{self, Head, Marker};
use super::now::Now;
use crate::discover::Inode;
use crate::extract::Unread;
use crate::redaction::Carried;
use crate::state::{Clocked, GenerationRecord};
use crate::texts::Waiting;

/// A text is complete if no line follows it for this time. A traceback is written in less, and a person who waits for a
/// line hardly notices it.
pub(super) const CLOSE_AFTER: Duration = Duration::from_millis(150);
/// A crash report whose end is missing is given more time: Redis tests its memory while it writes one.
const CLOSE_REPORT_AFTER: Duration = Duration::from_secs(5);

/// The unit of `st_blocks`: always 512 bytes.
const BLOCK: u64 = 512;

/// Whether somebody may still write to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The file under the stream's name.
    Live,
    /// A renamed or deleted file. A slow writer may still have it open.
    Rotated,
    /// A copy made by copytruncate, or an archive. Nobody writes to it.
    Copy,
}

/// The file was truncated or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

/// Where reading stopped because no complete text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    /// The size at that time. Reading again is useless until the file grows.
    size: u64,
    /// The end of the complete lines, which the next line may continue.
    lines: u64,
    /// For how long they may be continued.
    patience: Duration,
}

/// One file, and how far it is read.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no states of one machine")]
pub(super) struct Generation {
    content: Content,
    pub(super) inode: Inode,
    pub(super) kind: Kind,
    head: Head,
    marker: Marker,
    /// The next byte to read.
    pub(super) read: u64,
    /// The size at the last scan.
    pub(super) size: u64,
    /// Whether it is deleted, so that only this process keeps its bytes on the disk.
    pub(super) unlinked: bool,
    /// Its bytes on disk: fewer than its size if it has holes or is compressed.
    on_disk: u64,
    stalled: Option<Stall>,
    growth: Growth,
    /// The last time that the size changed.
    pub(super) grew_at: Instant,
    /// When it was fully read, and the next file was started.
    finished_at: Instant,
    /// Whether it is certain that no unread file comes before it. Until then nothing of it is read.
    pub(super) confirmed: bool,
    /// Whether it changed at the last scan. Only a new listing can show how.
    pub(super) suspect: bool,
    /// The clock of the next entries, if the record on disk names one.
    pub(super) clocked: Option<Clocked>,
    /// Whether it was finished before and has grown since.
    pub(super) late: bool,
    /// The end of the bytes that may have been pushed before a restart. `None` if this process opened the file first.
    resumed: Option<u64>,
    /// The copy or archive that has the same content, if one was found.
    pub(super) copied_to: Option<Inode>,
    /// The end of a text that is complete because no line followed it for a while.
    closed: Option<u64>,
    /// What the text before the position leaves open for the redaction of the next one.
    pub(super) redaction: Option<Carried>,
    /// Where the file ends for good, even within a line.
    ends: Option<u64>,
}

impl Generation {
    /// A file from its start.
    pub(super) fn new(content: Content, inode: Inode, kind: Kind, now: Now) -> std::io::Result<Self> {
        // How long the file was quiet before it was opened. A modification time in the future is ignored.
        let quiet = content.metadata().ok().and_then(|metadata| {
            let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Duration::from_nanos(u64::try_from(now.clock).ok()?).checked_sub(modified)
        });
        let size = content.len()?;
        let sealed = content.is_compressed();
        let mut growth = Growth::default();
        growth.seen(size, now.instant);
        Ok(Self {
            content,
            inode,
            kind: if sealed { Kind::Copy } else { kind },
            head: Head::default(),
            marker: Marker::default(),
            read: 0,
            size,
            unlinked: false,
            on_disk: 0,
            stalled: None,
            growth,
            grew_at: quiet.and_then(|quiet| now.instant.checked_sub(quiet)).unwrap_or(now.instant),
            finished_at: now.instant,
            confirmed: kind != Kind::Live,
            suspect: false,
            clocked: None,
            late: false,
            resumed: None,
            copied_to: None,
            closed: None,
            redaction: None,
            ends: sealed.then_some(size),
        })
    }

    /// A file from its position in `record`. `None` if the content is not the content of that file.
    pub(super) fn resume(
        content: Content,
        inode: Inode,
        kind: Kind,
        record: &GenerationRecord,
        now: Now,
    ) -> std::io::Result<Option<Self>> {
        let Some(marker) = identity::verify(&content, record)? else { return Ok(None) };
        let mut generation = Self::new(content, inode, kind, now)?;
        generation.head = Head { len: record.head_len, hash: record.head_hash };
        generation.marker = marker;
        generation.read = record.position;
        generation.clocked = record.clocked;
        generation.late = record.late;
        generation.closed = record.closed;
        generation.redaction = record.redaction;
        generation.ends = record.ends.or(generation.ends);
        generation.resumed = Some(generation.size);
        Ok(Some(generation))
    }

    /// The record of an unread file.
    pub(super) fn record_of(content: &Content, inode: Inode) -> std::io::Result<GenerationRecord> {
        let mut head = Head::default();
        head.grow(content, u64::MAX, true)?;
        Ok(GenerationRecord {
            device: inode.device,
            inode: inode.inode,
            born: inode.born,
            position: 0,
            head_len: head.len,
            head_hash: head.hash,
            marker_hash: Marker::default().hash(),
            ..GenerationRecord::default()
        })
    }

    /// The record that identifies the file later.
    pub(super) fn record(&self) -> GenerationRecord {
        GenerationRecord {
            device: self.inode.device,
            inode: self.inode.inode,
            born: self.inode.born,
            position: self.read,
            head_len: self.head.len,
            head_hash: self.head.hash,
            marker_hash: self.marker.hash(),
            clocked: self.clocked,
            late: self.late,
            closed: self.closed,
            redaction: self.redaction,
            ends: self.ends,
            size: Some(self.size),
        }
    }

    /// Takes a new snapshot: size, head and marker. The size alone is not enough: a rewritten file may have the same size.
    pub(super) fn refresh(&mut self, now: Instant) -> std::io::Result<Result<(), Changed>> {
        let metadata = self.content.metadata()?;
        self.unlinked = metadata.nlink() == 0;
        self.on_disk = metadata.blocks() * BLOCK;
        if self.content.is_compressed() {
            if self.has_no_content() {
                self.head.grow(&self.content, self.size, false)?;
            }
            return Ok(Ok(()));
        }
        let size = metadata.len();
        // An unread file has no marker: then the head decides.
        let same = size >= self.read
            && self.head.grow(&self.content, size, self.read == 0)?
            && self.marker.is_before(&self.content, self.read)?;
        if !same {
            return Ok(Err(Changed));
        }
        self.suspect = false;
        if size != self.size {
            self.size = size;
            self.grew_at = now;
            self.growth.seen(size, now);
        }
        Ok(Ok(()))
    }

    /// Its bytes on disk if it is deleted, else 0.
    pub(super) fn deleted(&self) -> u64 {
        if self.unlinked { self.on_disk } else { 0 }
    }

    /// Its modification time.
    pub(super) fn modified(&self) -> std::io::Result<SystemTime> {
        self.content.metadata()?.modified()
    }

    /// Whether no byte of its content is known.
    pub(super) fn has_no_content(&self) -> bool {
        self.head.len == 0
    }

    /// Whether it can be found again after a restart: by its content, or by its name and inode.
    pub(super) fn is_identifiable(&self) -> bool {
        !self.has_no_content() || !self.unlinked
    }

    /// Whether so little is read that another file may begin with the same bytes.
    pub(super) fn is_ambiguous(&self) -> bool {
        !self.has_no_content() && self.read < identity::MARKER as u64
    }

    /// Whether `other` begins with all of this file. Then this file is a copy of it, complete or not.
    pub(super) fn is_beginning_of(&self, other: &Self) -> std::io::Result<bool> {
        let is = self.size <= other.size
            && self.head.is_beginning_of(&other.content)
            && identity::have_the_same(&self.content, &other.content, self.size)?;
        self.release_decoder();
        other.release_decoder();
        Ok(is)
    }

    /// Whether `now` is the same file with the same head.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        self.inode == now.inode && self.head.is_beginning_of(&now.content)
    }

    /// Whether it is an archive.
    pub(super) fn is_compressed(&self) -> bool {
        self.content.is_compressed()
    }

    /// Frees the memory of the decoder.
    pub(super) fn release_decoder(&self) {
        self.content.release_decoder();
    }

    /// Whether it holds a decoder.
    #[cfg(test)]
    pub(super) fn has_decoder(&self) -> bool {
        self.content.has_decoder()
    }

    /// Whether it is read to its final end.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= self.read)
    }

    /// Declares its current size its final end, even within a line.
    pub(super) fn mark_end(&mut self) {
        self.ends = Some(self.size);
        self.stalled = None;
    }

    /// Declares `end` its final end, or its current size.
    pub(super) fn mark_end_at(&mut self, end: Option<u64>) {
        self.ends = Some(end.unwrap_or(self.size));
    }

    /// Marks it as fully read at `now`.
    pub(super) fn finished_at(mut self, now: Instant) -> Self {
        self.finished_at = now;
        self
    }

    /// Whether it has been fully read and quiet for this long.
    pub(super) fn is_finished_for(&self, now: Instant, long: Duration) -> bool {
        now.saturating_duration_since(self.finished_since()) >= long
    }

    /// Since when it is fully read and quiet.
    pub(super) fn finished_since(&self) -> Instant {
        self.finished_at.max(self.grew_at)
    }

    /// Whether somebody wrote past its declared end.
    pub(super) fn has_grown_past_its_end(&self) -> bool {
        self.size > self.read.max(self.ends.unwrap_or(0))
    }

    /// Removes its declared end.
    pub(super) fn clear_end(&mut self) {
        self.ends = None;
    }

    /// Treats it as a rotated file with a possible writer, not as a copy. An archive stays an archive.
    pub(super) fn treat_as_rotated(&mut self) {
        if !self.content.is_compressed() {
            self.kind = Kind::Rotated;
            self.clear_end();
        }
    }

    /// Declares its current size its final end if nobody writes to it.
    pub(super) fn mark_end_if_copy(&mut self) {
        if self.kind == Kind::Copy {
            self.mark_end();
        }
    }

    /// Whether everything that may have been pushed before the restart is read again.
    pub(super) fn is_past_resends(&self) -> bool {
        self.resumed.is_some_and(|resumed| resumed <= self.read)
    }

    /// Bytes that can be read now.
    pub(super) fn unread(&self) -> u64 {
        if self.is_stalled() || !self.confirmed { 0 } else { self.rest() }
    }

    /// When the last text is complete if no line follows it.
    pub(super) fn closes_at(&self) -> Option<Instant> {
        let waits = |stall: &Stall| self.is_stalled() && self.confirmed && stall.lines > self.read;
        self.stalled.filter(waits).map(|stall| self.grew_at + stall.patience)
    }

    /// Declares the last text complete.
    pub(super) fn close(&mut self) {
        self.closed = self.stalled.take().map(|stall| stall.lines);
    }

    /// Whether it has lines to read: now, or once it is confirmed, or once the last text is complete.
    pub(super) fn may_have_lines(&self) -> bool {
        self.unread() > 0 || self.closes_at().is_some() || !self.confirmed && self.size > 0
    }

    /// Its unread bytes, an unfinished line included.
    pub(super) fn rest(&self) -> u64 {
        self.ends.unwrap_or(self.size).saturating_sub(self.read)
    }

    /// Reads from another file from now on.
    #[cfg(test)]
    pub(super) fn read_from(&mut self, file: std::fs::File) {
        self.content = Content::plain(file);
    }

    fn is_stalled(&self) -> bool {
        self.stalled.is_some_and(|stall| stall.size == self.size)
    }

    /// Reads the bytes after the position, and checks that the bytes before it have not changed.
    pub(super) fn read<'a>(&self, chunk: &'a mut [u8]) -> std::io::Result<Result<Unread<'a>, Changed>> {
        let marker = self.marker.bytes();
        let filled = self.content.read_up_to(chunk, self.read - marker.len() as u64)?;
        let chunk: &'a [u8] = chunk;
        let Some(bytes) = chunk.get(..filled).and_then(|read| read.strip_prefix(marker)) else {
            return Ok(Err(Changed));
        };
        if self.read == 0 && !self.head.begins(bytes) {
            return Ok(Err(Changed));
        }
        let within = |position: Option<u64>| {
            position.map_or(usize::MAX, |position| {
                usize::try_from(position.saturating_sub(self.read)).unwrap_or(usize::MAX)
            })
        };
        let left = within(self.ends);
        Ok(Ok(Unread {
            around: chunk.get(..filled).unwrap_or_default(),
            lead: marker.len(),
            bytes: bytes.get(..left).unwrap_or(bytes),
            at_end: left <= bytes.len(),
            closed: within(self.closed),
            position: self.read,
            stop: within(self.clocked.map(|clocked| clocked.until)),
        }))
    }

    /// Moves the position by `bytes`. `chunk` begins with the marker, then the bytes after the position.
    pub(super) fn advance(&mut self, chunk: &[u8], bytes: usize) {
        let marker = self.marker.bytes().len();
        if let Some(read) = chunk.get(..marker + bytes) {
            self.marker.set(read);
            self.read += bytes as u64;
            self.clear_passed();
        }
    }

    /// Moves the position to the end of the hole that it stands in, without reading it. Returns the number of NULs.
    pub(super) fn skip_hole(&mut self) -> u64 {
        let Ok(Some(end)) = self.content.end_of_hole(self.read) else { return 0 };
        let until = self.clocked.map_or(u64::MAX, |clocked| clocked.until);
        let end = end.min(self.ends.unwrap_or(self.size)).min(until);
        let zeros = end.saturating_sub(self.read);
        // The marker becomes all NULs, so the hole must be longer. A shorter hole is read.
        if zeros <= identity::MARKER as u64 {
            return 0;
        }
        self.read = end;
        self.marker.set(&[0; identity::MARKER]);
        self.clear_passed();
        zeros
    }

    /// Drops what applied only up to the position.
    fn clear_passed(&mut self) {
        self.stalled = None;
        self.closed = self.closed.filter(|closed| *closed > self.read);
        self.clocked = self.clocked.filter(|clocked| clocked.until > self.read);
        if self.is_at_its_end() {
            self.release_decoder();
        }
    }

    /// Sets the clock of the next entries.
    pub(super) fn set_clock(&mut self, clocked: Clocked) {
        self.clocked = Some(clocked).filter(|clocked| clocked.until > self.read);
    }

    /// Since when the next byte waits to be read.
    pub(super) fn waits_since(&mut self) -> Option<Instant> {
        self.growth.since(self.read)
    }

    /// Remembers that there is no complete text, but complete lines.
    pub(super) fn stall(&mut self, waiting: Waiting) {
        let patience = if waiting.in_report { CLOSE_REPORT_AFTER } else { CLOSE_AFTER };
        self.stalled = Some(Stall { size: self.size, lines: self.read + waiting.bytes as u64, patience });
    }
}
