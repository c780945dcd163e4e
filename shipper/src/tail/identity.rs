//! Tells whether a file is still the same file: by its inode, a hash of its head, and a marker just before the position.
//!
//! The inode is not enough: the kernel reuses it, and a truncation keeps it. The head is not enough: files with the same
//! banner share it. The marker decides: if the bytes before the position changed, the file was truncated or replaced.

use xxhash_rust::xxh3::xxh3_64;

use super::content::Content;
use crate::discover::Inode;
use crate::state::GenerationRecord;

/// A file is identified by at most this many bytes at its start.
pub(super) const HEAD: usize = 1024;
/// The marker is at most this many bytes before the position.
pub(super) const MARKER: usize = 64;
/// Two files are compared in blocks of this many bytes.
const COMPARED: usize = 64 << 10;

/// The hash of a file's first bytes, up to 1 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: u64,
    pub(super) hash: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self { len: 0, hash: xxh3_64(&[]) }
    }
}

impl Head {
    /// Extends the hash if the head grew. Returns `false` if the first bytes changed. Without `check`, a head that cannot
    /// have grown is not read again.
    pub(super) fn grow(&mut self, content: &Content, size: u64, check: bool) -> std::io::Result<bool> {
        if (self.len >= HEAD as u64 || size <= self.len) && !check {
            return Ok(true);
        }
        let mut bytes = [0; HEAD];
        let read = content.read_up_to(&mut bytes, 0)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let same = self.begins(bytes);
        if same {
            *self = Self { len: read as u64, hash: xxh3_64(bytes) };
        }
        Ok(same)
    }

    /// Whether `bytes` begin with the head.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..as_len(self.len)).is_some_and(|head| xxh3_64(head) == self.hash)
    }

    /// Whether the head is not empty and `content` begins with it.
    pub(super) fn is_beginning_of(&self, content: &Content) -> bool {
        let mut bytes = [0; HEAD];
        let place = bytes.get_mut(..as_len(self.len)).unwrap_or_default();
        self.len > 0
            && content.read_up_to(place, 0).is_ok_and(|read| read as u64 == self.len)
            && xxh3_64(place) == self.hash
    }
}

/// The bytes just before the position, as they were read.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    bytes: [u8; MARKER],
    len: usize,
}

impl Default for Marker {
    fn default() -> Self {
        Self { bytes: [0; MARKER], len: 0 }
    }
}

impl Marker {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> u64 {
        xxh3_64(self.bytes())
    }

    /// Whether the bytes before `position` are still the same.
    pub(super) fn is_before(&self, content: &Content, position: u64) -> std::io::Result<bool> {
        let mut bytes = [0; MARKER];
        let place = bytes.get_mut(..self.len).unwrap_or_default();
        let read = content.read_up_to(place, position - self.len as u64)?;
        Ok(read == self.len && place == self.bytes())
    }

    /// Takes the last bytes of `read`. It begins with the bytes of this marker.
    pub(super) fn set(&mut self, read: &[u8]) {
        let tail = read.get(read.len().saturating_sub(MARKER)..).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(..tail.len()) {
            place.copy_from_slice(tail);
            self.len = tail.len();
        }
    }
}

/// Returns the marker if `content` is the content of the file in `record`.
pub(super) fn verify(content: &Content, record: &GenerationRecord) -> std::io::Result<Option<Marker>> {
    let mut head = [0; HEAD];
    let head_len = as_len(record.head_len).min(HEAD);
    let read = content.read_up_to(head.get_mut(..head_len).unwrap_or_default(), 0)?;
    if read != head_len || xxh3_64(head.get(..read).unwrap_or_default()) != record.head_hash {
        return Ok(None);
    }
    let mut marker = Marker { len: as_len(record.position.min(MARKER as u64)), ..Marker::default() };
    let (start, len) = (record.position - marker.len as u64, marker.len);
    let read = content.read_up_to(marker.bytes.get_mut(..len).unwrap_or_default(), start)?;
    Ok((read == len && marker.hash() == record.marker_hash).then_some(marker))
}

/// Whether `content` begins with the head in `record`.
pub(super) fn begins_as(content: &Content, record: &GenerationRecord) -> bool {
    Head { len: record.head_len, hash: record.head_hash }.is_beginning_of(content)
}

/// Whether `record` names this inode, and not an older file with the same number. A volume gets another device number on
/// another node, so birth times decide if both are known.
pub(super) fn is_inode(record: &GenerationRecord, inode: Inode) -> bool {
    let same = record.born.zip(inode.born).map_or(record.device == inode.device, |(one, other)| one == other);
    record.inode == inode.inode && same
}

/// Whether the first `len` bytes of both files are equal.
pub(super) fn have_the_same(one: &Content, other: &Content, len: u64) -> std::io::Result<bool> {
    let (mut a, mut b) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut position = 0;
    while position < len {
        let most = as_len(len - position).min(COMPARED);
        let (a, b) = (a.get_mut(..most).unwrap_or_default(), b.get_mut(..most).unwrap_or_default());
        let read = one.read_up_to(a, position)?;
        if read == 0 || read != other.read_up_to(b, position)? || a.get(..read) != b.get(..read) {
            return Ok(false);
        }
        position += read as u64;
    }
    Ok(true)
}

/// Converts a small length.
fn as_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
