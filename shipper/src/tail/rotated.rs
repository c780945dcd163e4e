//! What became of the live file while nobody looked: the copies beside it, in order of age.

use std::fs::File;
use std::time::Instant;

use super::generation::{Generation, Kind};
use super::identity::is_inode;
use crate::discover::{Discovery, Found, Inode, rotation};
use crate::position::GenerationRecord;

/// The live file of a stream and its rotated copies, as one listing of the directory had them.
pub(super) struct Siblings<'a> {
    discovery: &'a Discovery,
    /// The file under the stream's own name.
    pub(super) live: Option<&'a Found>,
    /// The plain copies with their numbers, oldest (largest number) first.
    rotated: Vec<(u32, &'a Found)>,
}

impl<'a> Siblings<'a> {
    pub(super) fn of(name: &str, listing: &'a [Found], discovery: &'a Discovery) -> Self {
        let mut rotated: Vec<_> = listing
            .iter()
            .filter(|found| found.name.strip_suffix(".gz").is_none())
            .filter_map(|found| Some((rotation(&found.name).filter(|(live, _)| *live == name)?.1, found)))
            .collect();
        rotated.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Self { discovery, live: listing.iter().find(|found| found.name == name), rotated }
    }

    /// Opens one of them; `None` where it is gone or another file by now.
    pub(super) fn open(&self, found: &Found) -> std::io::Result<Option<File>> {
        match self.discovery.open(found) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => opened,
        }
    }

    /// Finds the file that `record` is about: by its inode where the content agrees, else by its content.
    pub(super) fn find(&self, record: &GenerationRecord, now: Instant) -> Option<Generation> {
        let all = || self.live.into_iter().chain(self.rotated.iter().map(|(_, found)| *found));
        let by_inode = all().filter(|found| is_inode(record, found.inode));
        if let Some(found) = by_inode.into_iter().next() {
            let kind = if self.is_live(found) { Kind::Live } else { Kind::Rotated };
            if let Some(generation) = self.resume(found, kind, record, now) {
                return Some(generation);
            }
        }
        self.find_copy(record, now)
    }

    /// Finds a copy with the content that `record` is about, newest first.
    pub(super) fn find_copy(&self, record: &GenerationRecord, now: Instant) -> Option<Generation> {
        if record.head_len == 0 {
            return None;
        }
        self.rotated.iter().rev().find_map(|(_, found)| {
            let mut copy = self.resume(found, Kind::Copy, record, now)?;
            copy.end();
            Some(copy)
        })
    }

    /// The copies that are younger than the one with this inode, oldest first; none where it is not among them.
    pub(super) fn younger_than(&self, inode: Inode) -> impl Iterator<Item = &'a Found> {
        let after =
            self.rotated.iter().position(|(_, found)| found.inode == inode).map_or(self.rotated.len(), |at| at + 1);
        self.rotated.iter().skip(after).map(|(_, found)| *found)
    }

    fn is_live(&self, found: &Found) -> bool {
        self.live.is_some_and(|live| live.name == found.name)
    }

    fn resume(&self, found: &Found, kind: Kind, record: &GenerationRecord, now: Instant) -> Option<Generation> {
        let file = self.open(found).ok()??;
        let mut generation = Generation::resume(file, found.inode, kind, record, now).ok()??;
        // The size must be known before anything is said about the end.
        generation.look(now).ok()?.ok()?;
        Some(generation)
    }
}
