//! One file of a stream: the live one, or one that was rotated away and is not read to its end yet.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Now;
use super::content::Content;
use super::growth::Growth;
use super::identity::{self, Head, Marker};
use crate::discover::Inode;
use crate::state::{Clocked, GenerationRecord};

/// A text that nothing follows is complete after this time: long enough for a traceback to be written, short enough for
/// a line after long idleness to be seen at once.
pub(super) const CLOSE_AFTER: Duration = Duration::from_millis(150);

/// In what the file system counts what a file takes, whatever its own blocks are.
const BLOCK: u64 = 512;

/// Who may still write to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It stands under the stream's own name.
    Live,
    /// It was renamed or deleted; a slow writer may still have it open.
    Rotated,
    /// It was copied away before a truncation, or compressed: nobody writes to it.
    Copy,
}

/// The file is not what it was: truncated, or written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

/// Where reading stopped for want of more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    /// The size at that time: it is not worth reading again until the file grows.
    size: u64,
    /// Up to here stand complete lines, which may or may not be continued.
    lines: u64,
}

/// One file, and how far it is handed out.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no states of one machine")]
pub(super) struct Generation {
    content: Content,
    pub(super) inode: Inode,
    pub(super) kind: Kind,
    head: Head,
    marker: Marker,
    /// The next byte that is not handed out.
    pub(super) read: u64,
    /// The size when it was looked at last.
    pub(super) size: u64,
    /// Whether no name leads to it any more, so that only we keep its bytes on the disk.
    pub(super) unlinked: bool,
    /// How many bytes that are then: fewer than its size where it has holes or is compressed.
    on_disk: u64,
    stalled: Option<Stall>,
    growth: Growth,
    /// When the size changed last.
    pub(super) grew_at: Instant,
    /// When it was read to its end, and another one was taken up.
    left_at: Instant,
    /// Whether it is sure that no other file comes before it. Until then nothing of it is handed out.
    pub(super) confirmed: bool,
    /// Whether it has changed at the last look, and only a new listing tells into what.
    pub(super) suspect: bool,
    /// The clock for the next entries, where one was written ahead.
    pub(super) clocked: Option<Clocked>,
    /// Whether it was finished before and has grown since.
    pub(super) late: bool,
    /// Up to here it may have been pushed before a restart; not known where this process has opened it first.
    resumed: Option<u64>,
    /// The rotated copy that it was found to be, where that is another file.
    pub(super) copied_to: Option<Inode>,
    /// Where a text was taken to end because nothing followed it for a while.
    closed: Option<u64>,
    /// Where the file ends for good, its last line finished or not.
    ends: Option<u64>,
}

impl Generation {
    /// A file of which nothing was read.
    pub(super) fn new(content: Content, inode: Inode, kind: Kind, now: Now) -> std::io::Result<Self> {
        // How long it has been quiet before it was opened; a clock of another time says nothing.
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
            left_at: now.instant,
            confirmed: kind != Kind::Live,
            suspect: false,
            clocked: None,
            late: false,
            resumed: None,
            copied_to: None,
            closed: None,
            ends: sealed.then_some(size),
        })
    }

    /// A file taken up where `record` says, if it is that file.
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
        generation.ends = record.ends.or(generation.ends);
        generation.resumed = Some(generation.size);
        Ok(Some(generation))
    }

    /// How to know a file again of which nothing was read.
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

    /// How to know it again.
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
            ends: self.ends,
            size: Some(self.size),
        }
    }

    /// Looks at the size, the head and the marker: a file that was written anew may have the size it had.
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
        // Without a marker, because nothing is read yet, the head alone tells.
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

    /// Bytes that nobody but us keeps on the disk.
    pub(super) fn deleted(&self) -> u64 {
        if self.unlinked { self.on_disk } else { 0 }
    }

    /// When it was written to last, as the file system says.
    pub(super) fn modified(&self) -> std::io::Result<SystemTime> {
        self.content.metadata()?.modified()
    }

    /// Whether nothing of its content is known.
    pub(super) fn has_no_content(&self) -> bool {
        self.head.len == 0
    }

    /// Whether it can be found again once it is closed: by its content, or else by its inode.
    pub(super) fn is_identifiable(&self) -> bool {
        !self.has_no_content() || !self.unlinked
    }

    /// Whether so little is known of its content that another file may well begin with the same.
    pub(super) fn is_ambiguous(&self) -> bool {
        !self.has_no_content() && self.read < identity::MARKER as u64
    }

    /// Whether this is the beginning of `other`, or all of it: a copy, complete or not.
    pub(super) fn is_beginning_of(&self, other: &Self) -> std::io::Result<bool> {
        let is = self.size <= other.size
            && self.head.is_beginning_of(&other.content)
            && identity::have_the_same(&self.content, &other.content, self.size)?;
        self.release_decoder();
        other.release_decoder();
        Ok(is)
    }

    /// Whether this is the same file with the same beginning.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        self.inode == now.inode && self.head.is_beginning_of(&now.content)
    }

    /// Whether it has to be decompressed to be read on.
    pub(super) fn is_compressed(&self) -> bool {
        self.content.is_compressed()
    }

    /// Lets go of the memory it takes to read on.
    pub(super) fn release_decoder(&self) {
        self.content.release_decoder();
    }

    /// Whether it holds memory to read on.
    #[cfg(test)]
    pub(super) fn has_decoder(&self) -> bool {
        self.content.has_decoder()
    }

    /// Whether it is read to where it ends for good.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= self.read)
    }

    /// Declares that it ends where it ends now, finished line or not.
    pub(super) fn mark_end(&mut self) {
        self.ends = Some(self.size);
        self.stalled = None;
    }

    /// Says that nobody expects more of it from now on.
    pub(super) fn left_at(mut self, now: Instant) -> Self {
        self.left_at = now;
        self
    }

    /// Whether that, and the last time it grew, is so long ago.
    pub(super) fn was_left_before(&self, now: Instant, long: Duration) -> bool {
        now.saturating_duration_since(self.left_since()) >= long
    }

    /// When that was, or when it grew last.
    pub(super) fn left_since(&self) -> Instant {
        self.left_at.max(self.grew_at)
    }

    /// Whether it was declared to end before where it ends now: somebody has written on.
    pub(super) fn has_grown_past_its_end(&self) -> bool {
        self.size > self.read.max(self.ends.unwrap_or(0))
    }

    /// Takes back that it ends where it was declared to.
    pub(super) fn clear_end(&mut self) {
        self.ends = None;
    }

    /// Says that it is no copy but the file itself, and may have a writer.
    pub(super) fn treat_as_rotated(&mut self) {
        if !self.content.is_compressed() {
            self.kind = Kind::Rotated;
            self.clear_end();
        }
    }

    /// Has it end where it ends now, if nobody writes to it.
    pub(super) fn mark_end_if_copy(&mut self) {
        if self.kind == Kind::Copy {
            self.mark_end();
        }
    }

    /// Whether all that a process before this one may have pushed of it is handed out.
    pub(super) fn is_past_resends(&self) -> bool {
        self.resumed.is_some_and(|resumed| resumed <= self.read)
    }

    /// Bytes that could be handed out.
    pub(super) fn unread(&self) -> u64 {
        if self.is_stalled() || !self.confirmed { 0 } else { self.rest() }
    }

    /// When the text that nothing follows will be complete, if there is one.
    pub(super) fn closes_at(&self) -> Option<Instant> {
        let waits = self.is_stalled() && self.confirmed && self.stalled.is_some_and(|stall| stall.lines > self.read);
        waits.then(|| self.grew_at + CLOSE_AFTER)
    }

    /// Takes the text that nothing follows for complete.
    pub(super) fn close(&mut self) {
        self.closed = self.stalled.take().map(|stall| stall.lines);
    }

    /// Whether lines of it could be handed out, now or once it is confirmed or a text is complete.
    pub(super) fn may_have_lines(&self) -> bool {
        self.unread() > 0 || self.closes_at().is_some() || !self.confirmed && self.size > 0
    }

    /// Bytes that are not handed out, an unfinished line among them.
    pub(super) fn rest(&self) -> u64 {
        self.ends.unwrap_or(self.size).saturating_sub(self.read)
    }

    /// Has the bytes come from another descriptor.
    #[cfg(test)]
    pub(super) fn read_from(&mut self, file: std::fs::File) {
        self.content = Content::plain(file);
    }

    fn is_stalled(&self) -> bool {
        self.stalled.is_some_and(|stall| stall.size == self.size)
    }

    /// Reads what follows the position, after making sure that it still follows the same bytes.
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
            bytes: bytes.get(..left).unwrap_or(bytes),
            at_end: left <= bytes.len(),
            closed: within(self.closed),
            position: self.read,
            stop: within(self.clocked.map(|clocked| clocked.until)),
        }))
    }

    /// Hands out `bytes`, the first ones after the position. Together with the marker they are what `chunk` began with.
    pub(super) fn advance(&mut self, chunk: &[u8], bytes: usize) {
        let marker = self.marker.bytes().len();
        if let Some(read) = chunk.get(..marker + bytes) {
            self.marker.set(read);
            self.read += bytes as u64;
            self.clear_passed();
        }
    }

    /// Moves on to the end of the hole that stands at the position, without reading it, and returns how many NULs that were.
    pub(super) fn skip_hole(&mut self) -> u64 {
        let Ok(Some(end)) = self.content.end_of_hole(self.read) else { return 0 };
        let until = self.clocked.map_or(u64::MAX, |clocked| clocked.until);
        let end = end.min(self.ends.unwrap_or(self.size)).min(until);
        let zeros = end.saturating_sub(self.read);
        // So that the marker is all NULs. What is shorter is read.
        if zeros <= identity::MARKER as u64 {
            return 0;
        }
        self.read = end;
        self.marker.set(&[0; identity::MARKER]);
        self.clear_passed();
        zeros
    }

    /// Forgets what held up to a position that is passed.
    fn clear_passed(&mut self) {
        self.stalled = None;
        self.closed = self.closed.filter(|closed| *closed > self.read);
        self.clocked = self.clocked.filter(|clocked| clocked.until > self.read);
        if self.is_at_its_end() {
            self.release_decoder();
        }
    }

    /// Has the next entries see this clock, as far as it reaches.
    pub(super) fn see(&mut self, clocked: Clocked) {
        self.clocked = Some(clocked).filter(|clocked| clocked.until > self.read);
    }

    /// Since when the next byte waits to be handed out.
    pub(super) fn waits_since(&mut self) -> Option<Instant> {
        self.growth.since(self.read)
    }

    /// Remembers that there is no complete text, but so many bytes of complete lines.
    pub(super) fn stall(&mut self, lines: usize) {
        self.stalled = Some(Stall { size: self.size, lines: self.read + lines as u64 });
    }
}

/// What follows the position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether the file ends for good with these bytes.
    pub(super) at_end: bool,
    /// How many of them end with a text that was taken to be complete.
    pub(super) closed: usize,
    /// Where they stand in the file.
    pub(super) position: u64,
    /// At how many of them the clock that was written ahead ends.
    pub(super) stop: usize,
}
