//! One file of a stream: the live one, or one that was rotated away and is not read to its end yet.

use std::fs::File;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::Now;
use super::identity::{self, Head, Marker};
use crate::discover::Inode;
use crate::position::GenerationRecord;

/// Who may still write to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It stands under the stream's own name.
    Live,
    /// It was renamed or deleted; a slow writer may still have it open.
    Rotated,
    /// It was copied away before a truncation: nobody writes to it.
    Copy,
}

/// The file is not what it was: truncated, or written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed;

/// One file, and how far it is handed out.
#[derive(Debug)]
pub(super) struct Generation {
    file: File,
    pub(super) inode: Inode,
    pub(super) kind: Kind,
    head: Head,
    marker: Marker,
    /// The next byte that is not handed out.
    pub(super) read: u64,
    /// The size when it was looked at last.
    pub(super) size: u64,
    /// The size at which the rest was an unfinished line: not worth reading again until it grows.
    stalled: Option<u64>,
    /// When the size changed last.
    pub(super) grew_at: Instant,
    /// Whether it is sure that no other file comes before it. Until then nothing of it is handed out.
    pub(super) confirmed: bool,
    /// Whether it has changed at the last look, and only a new listing tells into what.
    pub(super) suspect: bool,
    /// Where the file ends for good, its last line finished or not.
    pub(super) ends: Option<u64>,
}

impl Generation {
    /// A file of which nothing was read.
    pub(super) fn new(file: File, inode: Inode, kind: Kind, now: Now) -> Self {
        // How long it has been quiet before it was opened; a clock of another time says nothing.
        let quiet = file.metadata().ok().and_then(|metadata| {
            let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Duration::from_nanos(u64::try_from(now.clock).ok()?).checked_sub(modified)
        });
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        Self {
            file,
            inode,
            kind,
            head: Head::default(),
            marker: Marker::default(),
            read: 0,
            size,
            stalled: None,
            grew_at: quiet.and_then(|quiet| now.instant.checked_sub(quiet)).unwrap_or(now.instant),
            confirmed: kind != Kind::Live,
            suspect: false,
            ends: None,
        }
    }

    /// A file taken up where `record` says, if it is that file.
    pub(super) fn resume(
        file: File,
        inode: Inode,
        kind: Kind,
        record: &GenerationRecord,
        now: Now,
    ) -> std::io::Result<Option<Self>> {
        let Some(marker) = identity::verify(&file, record)? else { return Ok(None) };
        let mut generation = Self::new(file, inode, kind, now);
        generation.head = Head { len: record.head_len, hash: record.head_hash };
        generation.marker = marker;
        generation.read = record.position;
        generation.ends = record.ends;
        Ok(Some(generation))
    }

    /// How to know it again.
    pub(super) fn record(&self) -> GenerationRecord {
        GenerationRecord {
            device: self.inode.device,
            inode: self.inode.inode,
            position: self.read,
            head_len: self.head.len,
            head_hash: self.head.hash,
            marker_hash: self.marker.hash(),
            ends: self.ends,
        }
    }

    /// Looks at the size, the head and the marker: a file that was written anew may have the size it had.
    pub(super) fn look(&mut self, now: Instant) -> std::io::Result<Result<(), Changed>> {
        let size = self.file.metadata()?.len();
        // Without a marker, because nothing is read yet, the head alone tells.
        let same = size >= self.read
            && self.head.grow(&self.file, size, self.read == 0)?
            && self.marker.is_before(&self.file, self.read)?;
        if !same {
            return Ok(Err(Changed));
        }
        self.suspect = false;
        if size != self.size {
            self.size = size;
            self.grew_at = now;
        }
        Ok(Ok(()))
    }

    /// Whether nothing of its content is known.
    pub(super) fn is_unknown(&self) -> bool {
        self.head.len == 0
    }

    /// Whether both begin with the same bytes, as a file and its copy do.
    pub(super) fn begins_like(&self, other: &Self) -> bool {
        self.head == other.head
    }

    /// Whether this is the same file with the same beginning.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        self.inode == now.inode && self.head.is_beginning_of(&now.file)
    }

    /// Whether it is read to where it ends for good.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= self.read)
    }

    /// Declares that it ends where it ends now, finished line or not.
    pub(super) fn end(&mut self) {
        self.ends = Some(self.size);
        self.stalled = None;
    }

    /// Bytes that could be handed out.
    pub(super) fn unread(&self) -> u64 {
        if self.stalled == Some(self.size) || !self.confirmed { 0 } else { self.limit().saturating_sub(self.read) }
    }

    /// Whether lines of it could be handed out, now or once it is confirmed.
    pub(super) fn may_have_lines(&self) -> bool {
        self.unread() > 0 || !self.confirmed && self.size > 0
    }

    /// Bytes that are not handed out, an unfinished line among them.
    pub(super) fn rest(&self) -> u64 {
        self.limit().saturating_sub(self.read)
    }

    fn limit(&self) -> u64 {
        self.ends.unwrap_or(self.size)
    }

    /// Reads what follows the position, after making sure that it still follows the same bytes. The second value tells
    /// whether the file ends for good with these bytes.
    pub(super) fn read<'a>(&self, chunk: &'a mut [u8]) -> std::io::Result<Result<(&'a [u8], bool), Changed>> {
        let marker = self.marker.bytes();
        let filled = identity::read_up_to(&self.file, chunk, self.read - marker.len() as u64)?;
        let chunk: &'a [u8] = chunk;
        let Some(bytes) = chunk.get(..filled).and_then(|read| read.strip_prefix(marker)) else {
            return Ok(Err(Changed));
        };
        if self.read == 0 && !self.head.begins(bytes) {
            return Ok(Err(Changed));
        }
        let Some(ends) = self.ends else { return Ok(Ok((bytes, false))) };
        let left = usize::try_from(ends.saturating_sub(self.read)).unwrap_or(usize::MAX);
        Ok(Ok((bytes.get(..left).unwrap_or(bytes), left <= bytes.len())))
    }

    /// Hands out `bytes`, the first ones after the position. Together with the marker they are what `chunk` began with.
    pub(super) fn advance(&mut self, chunk: &[u8], bytes: usize) {
        let marker = self.marker.bytes().len();
        if let Some(read) = chunk.get(..marker + bytes) {
            self.marker.set(read);
            self.read += bytes as u64;
            self.stalled = None;
        }
    }

    /// Remembers that what is left is an unfinished line.
    pub(super) fn stall(&mut self) {
        self.stalled = Some(self.size);
    }
}
