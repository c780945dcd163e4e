//! What makes a file the same file: its inode, a hash of its head, and a marker just before the position.
//!
//! The inode alone is reused by the kernel and kept by a truncation; the head alone is shared by files with the same
//! banner. The marker settles it: if the bytes before the position are not the bytes that were read there, something
//! happened to the file.

use xxhash_rust::xxh3::xxh3_64;

use super::content::Content;
use crate::discover::Inode;
use crate::state::GenerationRecord;

/// How many bytes of a file's start identify it.
pub(super) const HEAD: usize = 1024;
/// How many bytes before the position are compared.
pub(super) const MARKER: usize = 64;
/// How much of two files is compared at once.
const COMPARED: usize = 64 << 10;

/// The hash of a file's first bytes: of all of them, up to 1 KiB.
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
    /// Takes in what the file's head has grown by; `false` where its first bytes are not what they were. Where it
    /// cannot have grown it is only read again if `check` says so.
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

    /// Whether `bytes` begin with these.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..as_len(self.len)).is_some_and(|head| xxh3_64(head) == self.hash)
    }

    /// Whether `content` begins with these bytes, of which there must be some.
    pub(super) fn is_beginning_of(&self, content: &Content) -> bool {
        let mut bytes = [0; HEAD];
        let place = bytes.get_mut(..as_len(self.len)).unwrap_or_default();
        self.len > 0
            && content.read_up_to(place, 0).is_ok_and(|read| read as u64 == self.len)
            && xxh3_64(place) == self.hash
    }
}

/// The bytes before the position, as they were read.
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

    /// Whether these bytes still stand before `position`.
    pub(super) fn is_before(&self, content: &Content, position: u64) -> std::io::Result<bool> {
        let mut bytes = [0; MARKER];
        let place = bytes.get_mut(..self.len).unwrap_or_default();
        let read = content.read_up_to(place, position - self.len as u64)?;
        Ok(read == self.len && place == self.bytes())
    }

    /// Moves on to the end of `read`, which begins with this marker's own bytes.
    pub(super) fn set(&mut self, read: &[u8]) {
        let tail = read.get(read.len().saturating_sub(MARKER)..).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(..tail.len()) {
            place.copy_from_slice(tail);
            self.len = tail.len();
        }
    }
}

/// Checks that `content` is the one `record` is about: `Some` with the marker where it is.
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

/// Whether `content` begins as the file of `record` did.
pub(super) fn begins_as(content: &Content, record: &GenerationRecord) -> bool {
    Head { len: record.head_len, hash: record.head_hash }.is_beginning_of(content)
}

/// Whether `record` names this inode, and not one that had its number before. The number of a device is another one
/// wherever a volume is attached anew, so where both are known the file's age counts instead.
pub(super) fn is_inode(record: &GenerationRecord, inode: Inode) -> bool {
    let same = record.born.zip(inode.born).map_or(record.device == inode.device, |(one, other)| one == other);
    record.inode == inode.inode && same
}

/// Whether the first `len` bytes of both are the same.
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

/// A length that is known to be small.
fn as_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
