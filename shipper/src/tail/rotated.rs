//! What became of the live file while nobody looked: the copies beside it, in order of age.

use std::cell::Cell;
use std::collections::HashSet;

use super::Now;
use super::content::Content;
use super::generation::{Generation, Kind};
use super::identity::{begins_as, is_inode, verify};
use crate::discover::{Discovery, Found, Inode, is_compressed, rotation};
use crate::state::GenerationRecord;

/// The live file of a stream and its rotated copies, as one listing of the directory had them.
pub(super) struct Siblings<'a> {
    discovery: &'a Discovery,
    /// The file under the stream's own name.
    pub(super) live: Option<&'a Found>,
    /// The copies, oldest (largest number) first. Of one that is just being compressed only the plain one.
    rotated: Vec<&'a Found>,
    /// The copies at the look before; nothing where there was none.
    before: Option<HashSet<Inode>>,
    /// Whether one of them was gone, or another file, when it was to be opened.
    moved: Cell<bool>,
}

impl<'a> Siblings<'a> {
    pub(super) fn of(name: &str, listing: &'a [Found], before: &[Found], discovery: &'a Discovery) -> Self {
        let siblings = named_after(name, listing);
        let before = (!before.is_empty()).then(|| {
            let copies = named_after(name, before).filter(|found| found.name != name);
            copies.map(|found| found.inode).collect()
        });
        let live = siblings.clone().find(|found| found.name == name);
        let mut rotated: Vec<_> = siblings
            .filter_map(|found| Some((rotation(&found.name).filter(|(live, _)| *live == name)?.1, found)))
            .collect();
        rotated.sort_by_key(|(number, found)| (std::cmp::Reverse(*number), is_compressed(&found.name)));
        rotated.dedup_by_key(|(number, _)| *number);
        let rotated = rotated.into_iter().map(|(_, found)| found).collect();
        Self { discovery, live, rotated, before, moved: Cell::new(false) }
    }

    /// One of them from its beginning; `None` where it is gone, another file by now, or a damaged archive.
    pub(super) fn opened(&self, found: &Found, kind: Kind, now: Now) -> std::io::Result<Option<Generation>> {
        let Some(content) = self.open(found)? else { return Ok(None) };
        let mut generation = match Generation::new(content, found.inode, kind, now) {
            // While it was still being written the plain file stood beside it, and that one would have been opened.
            Err(error) if is_compressed(&found.name) => {
                tracing::warn!(file = found.name, %error, "a compressed copy is damaged, and cannot be read");
                return Ok(None);
            }
            generation => generation?,
        };
        let is_good = generation.refresh(now.instant)?.is_ok();
        generation.release_decoder();
        Ok(is_good.then_some(generation))
    }

    fn open(&self, found: &Found) -> std::io::Result<Option<Content>> {
        let opened = match self.discovery.open(found) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => opened?,
        };
        self.moved.set(self.moved.get() || opened.is_none());
        Ok(opened.map(|file| if is_compressed(&found.name) { Content::gzip(file) } else { Content::plain(file) }))
    }

    /// Whether there is neither the live file nor any copy.
    pub(super) fn are_gone(&self) -> bool {
        self.live.is_none() && self.rotated.is_empty()
    }

    /// Whether the directory is not what the listing says any more, so that nothing may be concluded from it.
    pub(super) fn are_stale(&self) -> bool {
        self.moved.get()
    }

    /// Finds the file that `record` is about: by its inode where the content agrees, else by its content.
    pub(super) fn find(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        self.find_by_inode(record, now).or_else(|| self.find_copy(record, now))
    }

    /// Finds the file that `record` is about by its inode, where the content agrees.
    pub(super) fn find_by_inode(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let mut all = self.live.into_iter().chain(self.rotated.iter().copied());
        let found = all.find(|found| is_inode(record, found.inode))?;
        let kind = if self.is_live(found) { Kind::Live } else { Kind::Rotated };
        self.resume(found, kind, record, now)
    }

    /// Finds a copy with the content that `record` is about, newest first.
    pub(super) fn find_copy(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        if record.head_len == 0 {
            return None;
        }
        self.rotated.iter().rev().find_map(|found| self.copy_from(found, record, now))
    }

    /// One of the copies from where `record` says, if it has that content.
    pub(super) fn copy_from(&self, found: &Found, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let mut copy = self.resume(found, Kind::Copy, record, now)?;
        copy.mark_end();
        Some(copy)
    }

    /// The copies that are younger than the one with this inode, oldest first; all where none is named.
    pub(super) fn younger_than(&self, inode: Option<Inode>) -> Vec<&'a Found> {
        let at = inode.and_then(|inode| self.rotated.iter().position(|found| found.inode == inode));
        self.rotated.iter().skip(at.map_or(0, |at| at + 1)).copied().collect()
    }

    /// The copies that were not there at the look before, or all where there was none. One that is compressed since then
    /// stands for the one it was made of.
    pub(super) fn new_files(&self) -> Vec<&'a Found> {
        let is_new = |found: &&&Found| self.before.is_none() || !is_compressed(&found.name) && !self.was_there(found);
        self.rotated.iter().filter(is_new).copied().collect()
    }

    /// The copies that were not there at the look before, and were not written to before `generation` was.
    pub(super) fn younger_than_deleted(&self, generation: &Generation) -> std::io::Result<Vec<&'a Found>> {
        let mut younger = Vec::new();
        for found in self.rotated.iter().filter(|found| !self.was_there(found)) {
            if let Some(content) = self.open(found)?
                && content.metadata()?.modified()? > generation.modified()?
            {
                younger.push(*found);
            }
        }
        Ok(younger)
    }

    /// How to know the youngest copy again that was there at the look before.
    pub(super) fn youngest_before(&self) -> Option<GenerationRecord> {
        self.rotated.iter().rev().filter(|found| self.was_there(found)).find_map(|found| {
            let content = self.open(found).ok()??;
            Generation::record_of(&content, found.inode).ok().filter(|record| record.head_len > 0)
        })
    }

    /// The copy that is this open file, by its inode or else by its content. To know that of a compressed one all of it
    /// has to be read, so it is remembered.
    pub(super) fn copy_of_open(&self, open: &mut Generation, now: Now) -> Option<Inode> {
        let record = open.record();
        if self.rotated.iter().any(|found| is_inode(&record, found.inode)) {
            return Some(open.inode);
        }
        let begins = |found: &Found| {
            self.open(found).is_ok_and(|content| content.is_some_and(|content| begins_as(&content, &record)))
        };
        let known = self.rotated.iter().find(|found| open.copied_to == Some(found.inode) && begins(found));
        open.copied_to = known.map(|found| found.inode).or_else(|| Some(self.find_copy(&record, now)?.inode));
        open.copied_to
    }

    /// Whether the file of `record` may be there, under whatever name, though it cannot be read for now.
    pub(super) fn may_contain(&self, record: &GenerationRecord) -> bool {
        let mut all = self.live.into_iter().chain(self.rotated.iter().copied());
        let another =
            |found| matches!(self.open(found), Ok(Some(content)) if matches!(verify(&content, record), Ok(None)));
        all.any(|found| is_inode(record, found.inode) && !another(found))
    }

    /// Sees to it that `youngest` is how to know the youngest copy again that holds anything.
    pub(super) fn remember_youngest(&self, youngest: &mut Option<GenerationRecord>) {
        // An empty one can be known by its inode only, which is used again.
        for found in self.rotated.iter().rev() {
            if youngest.as_ref().is_some_and(|youngest| is_inode(youngest, found.inode)) {
                return;
            }
            if let Ok(Some(content)) = self.open(found)
                && let Ok(record) = Generation::record_of(&content, found.inode)
                && record.head_len > 0
            {
                *youngest = Some(record);
                return;
            }
        }
        *youngest = None;
    }

    /// Whether no copy is younger than the one that is the file of `record`.
    pub(super) fn is_youngest(&self, record: &GenerationRecord) -> bool {
        self.rotated.last().is_none_or(|found| self.is_file_of(found, record))
    }

    /// Whether the file of `record` is there, under whatever name.
    pub(super) fn contain(&self, record: &GenerationRecord) -> bool {
        self.live.into_iter().chain(self.rotated.iter().copied()).any(|found| self.is_file_of(found, record))
    }

    /// Whether this is the file of `record`. An inode is used again: the content has to agree.
    pub(super) fn is_file_of(&self, found: &Found, record: &GenerationRecord) -> bool {
        is_inode(record, found.inode)
            && self.open(found).is_ok_and(|content| content.is_some_and(|content| begins_as(&content, record)))
    }

    /// The live file from where `record` says, if it is that file.
    pub(super) fn live_from(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let live = self.live.filter(|live| is_inode(record, live.inode))?;
        self.resume(live, Kind::Live, record, now)
    }

    /// The live file, where it holds everything that was read of the one `record` is about, though it is another: somebody
    /// has written it anew with the same content.
    pub(super) fn find_rewritten(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let live = self.live.filter(|live| !is_inode(record, live.inode))?;
        self.resume(live, Kind::Live, record, now)
    }

    /// The same, where the file that was written anew is rotated by now, and its writer may not know. Where the one
    /// `record` is about is still there it is nothing but a copy.
    pub(super) fn find_rewritten_and_rotated(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        if record.head_len == 0 || self.contain(record) {
            return None;
        }
        let mut plain = self.rotated.iter().rev().filter(|found| !is_compressed(&found.name));
        plain.find_map(|found| self.resume(found, Kind::Rotated, record, now))
    }

    fn was_there(&self, found: &Found) -> bool {
        self.before.as_ref().is_some_and(|before| before.contains(&found.inode))
    }

    fn is_live(&self, found: &Found) -> bool {
        self.live.is_some_and(|live| live.name == found.name)
    }

    fn resume(&self, found: &Found, kind: Kind, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let content = self.open(found).ok()??;
        let mut generation = Generation::resume(content, found.inode, kind, record, now).ok()??;
        // The size must be known before anything is said about the end.
        generation.refresh(now.instant).ok()?.ok()?;
        generation.release_decoder();
        Some(generation)
    }
}

/// The file of this name and its copies. A listing is sorted, and all of them begin with the name.
fn named_after<'a>(name: &str, listing: &'a [Found]) -> impl Iterator<Item = &'a Found> + Clone {
    let first = listing.partition_point(|found| found.name.as_str() < name);
    listing.iter().skip(first).take_while(move |found| found.name.starts_with(name))
}
