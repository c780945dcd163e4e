//! The live file of a stream and its rotated files, in order of age, as one listing shows them.

use std::cell::Cell;
use std::collections::HashSet;

use super::content::Content;
use super::generation::{Generation, Kind};
use super::identity::{begins_as, is_inode, verify};
use super::now::Now;
use crate::discover::{Discovery, Found, Inode, is_compressed, rotation};
use crate::state::GenerationRecord;

/// The live file of a stream and its rotated files in one listing.
pub(super) struct Siblings<'a> {
    discovery: &'a Discovery,
    /// The file under the stream's name.
    pub(super) live: Option<&'a Found>,
    /// The rotated files, oldest (largest number) first. While a file is being compressed, only the plain file counts.
    rotated: Vec<&'a Found>,
    /// The rotated files of the previous scan. `None` if there was none.
    before: Option<HashSet<Inode>>,
    /// Whether a listed file was gone or replaced when it was opened.
    stale: Cell<bool>,
}

impl<'a> Siblings<'a> {
    pub(super) fn of(name: &str, listing: &'a [Found], before: &[Found], discovery: &'a Discovery) -> Self {
        let siblings = named_after(name, listing);
        let before = (!before.is_empty()).then(|| {
            let rotated = named_after(name, before).filter(|found| found.name != name);
            rotated.map(|found| found.inode).collect()
        });
        let live = siblings.clone().find(|found| found.name == name);
        let mut rotated: Vec<_> = siblings
            .filter_map(|found| Some((rotation(&found.name).filter(|(live, _)| *live == name)?.1, found)))
            .collect();
        rotated.sort_by_key(|(number, found)| (std::cmp::Reverse(*number), is_compressed(&found.name)));
        rotated.dedup_by_key(|(number, _)| *number);
        let rotated = rotated.into_iter().map(|(_, found)| found).collect();
        Self { discovery, live, rotated, before, stale: Cell::new(false) }
    }

    /// The rotated files, oldest first, and then the live file.
    pub(super) fn in_order(&self) -> Vec<&'a Found> {
        self.rotated.iter().copied().chain(self.live).collect()
    }

    /// Opens one of the files from its start. `None` if it is gone, replaced, or a damaged archive.
    pub(super) fn opened(&self, found: &Found, kind: Kind, now: Now) -> std::io::Result<Option<Generation>> {
        let Some(content) = self.open(found)? else { return Ok(None) };
        let mut generation = match Generation::new(content, found.inode, kind, now) {
            // It is not an archive in the making: then the plain file would still be there.
            Err(error) if is_compressed(&found.name) => {
                let code = findings::Code::LinesLost.as_str();
                tracing::warn!(code, file = found.name, %error, "failed to read an archive: it is damaged");
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
        self.stale.set(self.stale.get() || opened.is_none());
        Ok(opened.map(|file| if is_compressed(&found.name) { Content::gzip(file) } else { Content::plain(file) }))
    }

    /// Whether there is neither a live file nor a rotated file.
    pub(super) fn are_gone(&self) -> bool {
        self.live.is_none() && self.rotated.is_empty()
    }

    /// Whether the directory changed since the listing, so that the listing proves nothing.
    pub(super) fn are_stale(&self) -> bool {
        self.stale.get()
    }

    /// Finds the file of `record` by its inode, if the content agrees, else by its content.
    pub(super) fn find(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        self.find_by_inode(record, now).or_else(|| self.find_copy(record, now))
    }

    /// Finds the file of `record` by its inode, if the content agrees.
    pub(super) fn find_by_inode(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let mut all = self.live.into_iter().chain(self.rotated.iter().copied());
        let found = all.find(|found| is_inode(record, found.inode))?;
        let kind = if self.is_live(found) { Kind::Live } else { Kind::Rotated };
        self.resume(found, kind, record, now)
    }

    /// Finds the newest rotated file with the content of `record`.
    pub(super) fn find_copy(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        if record.head_len == 0 {
            return None;
        }
        self.rotated.iter().rev().find_map(|found| self.copy_from(found, record, now))
    }

    /// Opens a rotated file at the position of `record`, if it has that content.
    pub(super) fn copy_from(&self, found: &Found, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let mut copy = self.resume(found, Kind::Copy, record, now)?;
        copy.mark_end();
        Some(copy)
    }

    /// The rotated files younger than the one with this inode, oldest first. All of them if no inode is given.
    pub(super) fn younger_than(&self, inode: Option<Inode>) -> Vec<&'a Found> {
        let at = inode.and_then(|inode| self.rotated.iter().position(|found| found.inode == inode));
        self.rotated.iter().skip(at.map_or(0, |at| at + 1)).copied().collect()
    }

    /// The rotated files that are new since the previous scan, or all without one. A new archive counts as old: it was made
    /// from an old file.
    pub(super) fn new_files(&self) -> Vec<&'a Found> {
        let is_new = |found: &&&Found| self.before.is_none() || !is_compressed(&found.name) && !self.was_there(found);
        self.rotated.iter().filter(is_new).copied().collect()
    }

    /// The rotated files that are new since the previous scan and were modified after `generation`.
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

    /// The record of the youngest rotated file of the previous scan.
    pub(super) fn youngest_before(&self) -> Option<GenerationRecord> {
        self.rotated.iter().rev().filter(|found| self.was_there(found)).find_map(|found| {
            let content = self.open(found).ok()??;
            Generation::record_of(&content, found.inode).ok().filter(|record| record.head_len > 0)
        })
    }

    /// The inode of the rotated file that holds this open file: by inode, else by content. The result is remembered, because
    /// comparing an archive means reading all of it.
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

    /// Whether the file of `record` may be there under some name, even if it cannot be read now.
    pub(super) fn may_contain(&self, record: &GenerationRecord) -> bool {
        let mut all = self.live.into_iter().chain(self.rotated.iter().copied());
        let another =
            |found| matches!(self.open(found), Ok(Some(content)) if matches!(verify(&content, record), Ok(None)));
        all.any(|found| is_inode(record, found.inode) && !another(found))
    }

    /// Updates `youngest` to the record of the youngest rotated file with content.
    pub(super) fn remember_youngest(&self, youngest: &mut Option<GenerationRecord>) {
        // An empty file has nothing but its inode, which may be reused.
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

    /// Whether no rotated file is younger than the file of `record`.
    pub(super) fn is_youngest(&self, record: &GenerationRecord) -> bool {
        self.rotated.last().is_none_or(|found| self.is_file_of(found, record))
    }

    /// Whether the file of `record` is there under some name.
    pub(super) fn contain(&self, record: &GenerationRecord) -> bool {
        self.live.into_iter().chain(self.rotated.iter().copied()).any(|found| self.is_file_of(found, record))
    }

    /// Whether this is the file of `record`. The content must agree, because inodes are reused.
    pub(super) fn is_file_of(&self, found: &Found, record: &GenerationRecord) -> bool {
        is_inode(record, found.inode)
            && self.open(found).is_ok_and(|content| content.is_some_and(|content| begins_as(&content, record)))
    }

    /// Opens the live file at the position of `record`, if it is that file.
    pub(super) fn live_from(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let live = self.live.filter(|live| is_inode(record, live.inode))?;
        self.resume(live, Kind::Live, record, now)
    }

    /// Opens the live file at the position of `record`, if it is another file with the same content: somebody rewrote it.
    pub(super) fn find_rewritten(&self, record: &GenerationRecord, now: Now) -> Option<Generation> {
        let live = self.live.filter(|live| !is_inode(record, live.inode))?;
        self.resume(live, Kind::Live, record, now)
    }

    /// The same for a rewritten file that is rotated by now. Its writer may still have it open. If the file of `record` is
    /// still there, the other file is only a copy.
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
        // The caller may declare the size the final end, so it must be current.
        generation.refresh(now.instant).ok()?.ok()?;
        generation.release_decoder();
        Some(generation)
    }
}

/// The file of this name and its rotated files. A listing is sorted, and all their names begin with this name.
fn named_after<'a>(name: &str, listing: &'a [Found]) -> impl Iterator<Item = &'a Found> + Clone {
    let first = listing.partition_point(|found| found.name.as_str() < name);
    listing.iter().skip(first).take_while(move |found| found.name.starts_with(name))
}
