//! What became of the live file while nobody looked: the copies beside it, in order of age.

use std::cell::Cell;
use std::fs::File;

use super::Now;
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
    /// Whether one of them was gone, or another file, when it was to be opened.
    moved: Cell<bool>,
}

impl<'a> Siblings<'a> {
    pub(super) fn of(name: &str, listing: &'a [Found], discovery: &'a Discovery) -> Self {
        let mut rotated: Vec<_> = listing
            .iter()
            .filter(|found| found.name.strip_suffix(".gz").is_none())
            .filter_map(|found| Some((rotation(&found.name).filter(|(live, _)| *live == name)?.1, found)))
            .collect();
        rotated.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Self { discovery, live: listing.iter().find(|found| found.name == name), rotated, moved: Cell::new(false) }
    }

    /// One of them from its beginning; `None` where it is gone or another file by now.
    pub(super) fn opened(&self, found: &Found, kind: Kind, now: Now) -> std::io::Result<Option<Generation>> {
        let Some(file) = self.open(found)? else { return Ok(None) };
        let mut generation = Generation::new(file, found.inode, kind, now);
        Ok(generation.look(now.instant)?.is_ok().then_some(generation))
    }

    fn open(&self, found: &Found) -> std::io::Result<Option<File>> {
        let opened = match self.discovery.open(found) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => opened?,
        };
        self.moved.set(self.moved.get() || opened.is_none());
        Ok(opened)
    }

    /// Whether the directory is not what the listing says any more, so that nothing may be concluded from it.
    pub(super) fn have_moved(&self) -> bool {
        self.moved.get()
    }

    /// Finds the file that `record` is about: by its inode where the content agrees, else by its content.
    pub(super) fn find(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
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
    pub(super) fn find_copy(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        if record.head_len == 0 {
            return None;
        }
        self.rotated.iter().rev().find_map(|(_, found)| {
            let mut copy = self.resume(found, Kind::Copy, record, now)?;
            copy.end();
            Some(copy)
        })
    }

    /// The copies that are younger than the one with this inode, oldest first: none where it is not among them, all
    /// where none is named.
    pub(super) fn younger_than(&self, inode: Option<Inode>) -> impl Iterator<Item = &'a Found> {
        let after = inode.map_or(0, |inode| {
            self.rotated.iter().position(|(_, found)| found.inode == inode).map_or(self.rotated.len(), |at| at + 1)
        });
        self.rotated.iter().skip(after).map(|(_, found)| *found)
    }

    /// The youngest copy.
    pub(super) fn youngest(&self, now: Now) -> Option<Generation> {
        let (_, found) = self.rotated.last()?;
        self.opened(found, Kind::Rotated, now).ok()?
    }

    /// Whether no copy is younger than the one with this inode.
    pub(super) fn is_youngest(&self, record: &GenerationRecord) -> bool {
        self.rotated.last().is_none_or(|(_, found)| is_inode(record, found.inode))
    }

    fn is_live(&self, found: &Found) -> bool {
        self.live.is_some_and(|live| live.name == found.name)
    }

    fn resume(&self, found: &Found, kind: Kind, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let file = self.open(found).ok()??;
        let mut generation = Generation::resume(file, found.inode, kind, record, now).ok()??;
        // The size must be known before anything is said about the end.
        generation.look(now.instant).ok()?.ok()?;
        Some(generation)
    }
}
