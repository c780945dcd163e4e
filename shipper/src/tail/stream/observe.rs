//! Finds out at a scan what happened to the files of a stream since the previous one.

use findings::Code;

use super::super::generation::{Changed, Generation, Kind};
use super::super::rotated::Siblings;
use super::{LINGER, RETRY, Stream};
use crate::discover::Found;
use crate::metrics::{Lost, Metrics};
use crate::state::GenerationRecord;
use crate::tail::Now;

impl Stream {
    /// Observes the live file and the rotated files, and follows what happened to them. Returns whether it needs a newer
    /// listing: a file's content proves nothing if it may be younger than the listing.
    pub(in crate::tail) fn observe(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> bool {
        match self.follow(siblings, metrics, now) {
            Ok(needs_listing) => needs_listing,
            Err(error) => {
                self.fail(&error.to_string(), now.instant + RETRY);
                self.reopen(siblings, metrics, now);
                false
            }
        }
    }

    fn follow(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        // The live file is followed even if a rotated file cannot be read.
        let rotated = self.observe_rotated(metrics, now);
        let needs_listing = self.observe_newest(siblings, metrics, now)?;
        rotated?;
        self.observe_lingering(siblings, now)?;
        let gone = siblings.are_gone() && !self.is_there();
        self.gone_since = gone.then(|| self.gone_since.unwrap_or(now.instant));
        if !needs_listing && !siblings.are_stale() {
            siblings.remember_youngest(&mut self.beside);
        }
        Ok(needs_listing)
    }

    /// The rotated generations in the queue. One whose content changed is lost.
    fn observe_rotated(&mut self, metrics: &Metrics, now: Now) -> std::io::Result<()> {
        let (mut gone, mut failed) = (Vec::new(), Ok(()));
        for (i, generation) in self.queue.iter_mut().enumerate().filter(|(_, known)| known.kind != Kind::Live) {
            match generation.refresh(now.instant) {
                Ok(Ok(())) => {}
                Ok(Err(Changed)) => gone.push(i),
                Err(error) => failed = Err(error),
            }
        }
        self.give_up(&gone, metrics);
        failed
    }

    /// The newest generation: unchanged, rotated, truncated, rewritten, or new.
    fn observe_newest(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        let unconfirmed = self.queue.pop_back_if(|newest| !newest.confirmed);
        if let Some(newest) = self.queue.back_mut().filter(|newest| newest.kind == Kind::Live) {
            let still_live = siblings.live.is_some_and(|live| live.inode == newest.inode);
            // Taken before the refresh, which extends the head.
            let ambiguous = newest.is_ambiguous().then(|| newest.record());
            match newest.refresh(now.instant)? {
                Ok(()) => {
                    if self.was_copied_away(ambiguous, siblings, now)? {
                        self.write_ahead = true;
                    } else if still_live || self.follow_replacement(siblings, now)? {
                        return Ok(false);
                    }
                }
                // The listing may be older than the change, and lack the copy.
                Err(Changed) if !std::mem::replace(&mut newest.suspect, true) => return Ok(true),
                Err(Changed) => {
                    let (record, bytes) = (newest.record(), newest.rest());
                    let copy = match ambiguous {
                        Some(record) => self.find_ambiguous(&record, self.queue.len() - 1, siblings, now)?,
                        None => siblings.find_copy(&record, now),
                    };
                    if let (Some(copy), Some(newest)) = (copy, self.queue.back_mut()) {
                        *newest = copy;
                    } else if siblings.are_stale() {
                        return Ok(true);
                    } else {
                        metrics.lost(Lost::Truncated, bytes);
                        let code = Code::LinesLost.as_str();
                        tracing::warn!(code, file = %self.name, bytes, "a file was truncated, and no copy holds its unread lines");
                        self.queue.pop_back();
                        self.newest_is_gone();
                    }
                    self.write_ahead = true;
                }
            }
        }
        if let Some(mut back) = self.take_back(siblings, now) {
            back.confirmed = true;
            self.write_ahead = true;
            self.queue.push_back(back);
            return Ok(false);
        }
        let live = match siblings.live {
            Some(live) => siblings.opened(live, Kind::Live, now)?,
            None => None,
        };
        self.open_unknown(siblings, live.as_ref(), metrics, now)?;
        let gone = unconfirmed.as_ref().is_some_and(|before| {
            siblings.live.is_none_or(|live| live.inode != before.inode) && before.has_no_content()
        });
        // If the head was the same at the previous scan, it is older than this listing, which then holds every older file.
        let confirmed = |live: &Generation| {
            !live.has_no_content() && unconfirmed.as_ref().is_some_and(|before| before.is_same(live))
        };
        let live = live.filter(|_| !siblings.are_stale()).map(|mut live| {
            live.confirmed = confirmed(&live);
            live
        });
        if gone && let Some(unconfirmed) = unconfirmed {
            self.linger(unconfirmed, live.as_ref(), now)?;
        }
        let Some(live) = live else { return Ok(siblings.are_stale()) };
        self.write_ahead |= live.confirmed;
        let needs_listing = !live.confirmed && !live.has_no_content();
        self.queue.push_back(live);
        Ok(needs_listing)
    }

    /// The newest file is lost. Files rotated before the last scan are older, even if they finished later.
    pub(super) fn newest_is_gone(&mut self) {
        if self.queue.is_empty() && self.beside.is_some() {
            self.anchor.clone_from(&self.beside);
        }
    }

    /// The newest file lost its name: a file with the same content replaced it, or it was rotated. Returns whether the
    /// replacement is live.
    fn follow_replacement(&mut self, siblings: &Siblings<'_>, now: Now) -> std::io::Result<bool> {
        let Some(newest) = self.queue.back().filter(|newest| newest.unlinked) else {
            self.rotate_newest();
            return Ok(false);
        };
        let record = newest.record();
        // A longer copy means that somebody wrote to the replacement, and then rotated it.
        let copy = || siblings.find_copy(&record, now).filter(|copy| copy.size > newest.size);
        let found = siblings.find_rewritten(&record, now);
        let found = found
            .or_else(|| siblings.find_rewritten_and_rotated(&record, now))
            .or_else(copy)
            .filter(|_| self.proves_rewrite(newest.size));
        let same = found.as_ref().map_or(Ok(false), |found| newest.is_beginning_of(found))?;
        match (found, self.queue.back_mut()) {
            (Some(mut found), Some(newest)) if same => {
                found.confirmed = true;
                *newest = found;
                self.write_ahead = true;
                Ok(newest.kind == Kind::Live)
            }
            _ => {
                self.rotate_newest();
                Ok(false)
            }
        }
    }

    fn rotate_newest(&mut self) {
        if let Some(newest) = self.queue.back_mut() {
            newest.kind = Kind::Rotated;
        }
    }

    /// Takes the live file back if it is or was followed as a rotated file: somebody renamed it away and back.
    fn take_back(&mut self, siblings: &Siblings<'_>, now: Now) -> Option<Generation> {
        let live = siblings.live?;
        let is_live = |known: &Generation| known.inode == live.inode && !known.is_compressed();
        let queued = self.queue.iter().position(is_live).and_then(|at| self.queue.remove(at));
        let lingering = || Some(self.lingering.remove(self.lingering.iter().position(is_live)?));
        if let Some(mut back) = queued.or_else(lingering) {
            back.kind = Kind::Live;
            back.clear_end();
            return Some(back);
        }
        let anchor = self.anchor.as_ref().filter(|anchor| self.proves_rewrite(anchor.position))?;
        siblings.live_from(anchor, now)
    }

    /// Whether the newest file was copied and truncated, and begins with the same few bytes again. Then the copy replaces it
    /// in the queue.
    fn was_copied_away(
        &mut self,
        ambiguous: Option<GenerationRecord>,
        siblings: &Siblings<'_>,
        now: Now,
    ) -> std::io::Result<bool> {
        let Some(record) = ambiguous else { return Ok(false) };
        let copy = self.find_ambiguous(&record, self.queue.len() - 1, siblings, now)?;
        match (copy, self.queue.back_mut()) {
            (Some(copy), Some(newest)) if !newest.unlinked && !copy.is_beginning_of(newest)? => {
                *newest = copy;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Finds the copy of a file that is read only so far that other files may begin with the same bytes. It is the first
    /// match that is younger than the first `generations` of the queue.
    pub(super) fn find_ambiguous(
        &mut self,
        record: &GenerationRecord,
        generations: usize,
        siblings: &Siblings<'_>,
        now: Now,
    ) -> std::io::Result<Option<Generation>> {
        for found in self.younger_than(generations, siblings, now)? {
            if siblings.is_file_of(found, record) {
                break;
            }
            if !self.has_open(found.inode)
                && let Some(copy) = siblings.copy_from(found, record, now)
            {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }

    /// The rotated files that are younger than the first `generations` of the queue, or than the anchor if there are none.
    fn younger_than<'a>(
        &mut self,
        generations: usize,
        siblings: &Siblings<'a>,
        now: Now,
    ) -> std::io::Result<Vec<&'a Found>> {
        // A late generation proves nothing: younger files may be finished already.
        let before = self.queue.iter_mut().take(generations).rfind(|known| !known.late);
        Ok(match (before, &self.anchor) {
            (Some(before), _) => match siblings.copy_of_open(before, now) {
                Some(inode) => siblings.younger_than(Some(inode)),
                None => siblings.younger_than_deleted(before)?,
            },
            (None, Some(anchor)) if siblings.is_youngest(anchor) => Vec::new(),
            (None, Some(anchor)) => match siblings.find(anchor, now) {
                Some(found) if found.kind != Kind::Live => {
                    // It may be an archive with another inode by now.
                    self.anchor = Some(found.record());
                    siblings.younger_than(Some(found.inode))
                }
                Some(_) => Vec::new(),
                // The anchor is deleted: the youngest rotated file of the last scan replaces it.
                None => match self.beside.take().map(|beside| siblings.find(&beside, now)) {
                    Some(Some(found)) => {
                        self.anchor = Some(found.record());
                        siblings.younger_than(Some(found.inode))
                    }
                    Some(None) => siblings.new_files(),
                    None => siblings.younger_than(None),
                },
            },
            (None, None) => siblings.younger_than(None),
        })
    }

    /// Opens the rotated files that are younger than every known one, except an unfinished copy of the live file.
    fn open_unknown(
        &mut self,
        siblings: &Siblings<'_>,
        live: Option<&Generation>,
        metrics: &Metrics,
        now: Now,
    ) -> std::io::Result<()> {
        let younger = self.younger_than(self.queue.len(), siblings, now)?;
        for found in younger {
            if self.has_open(found.inode) || self.damaged.contains(&found.inode) {
                continue;
            }
            let Some(generation) = siblings.opened(found, Kind::Rotated, now)? else {
                if siblings.are_stale() {
                    return Ok(());
                }
                self.damaged.push(found.inode);
                metrics.lost(Lost::Missing, 0);
                continue;
            };
            if self.holds_the_original_of(&generation, now)? {
                continue;
            }
            let is_copy = || live.map_or(Ok(false), |live| generation.is_beginning_of(live));
            if generation.has_no_content() {
                self.linger(generation, None, now)?;
                continue;
            }
            if is_copy()? {
                continue;
            }
            self.write_ahead = true;
            self.queue.push_back(generation);
        }
        Ok(())
    }

    /// Whether `copy` is the archive of a deleted file that is still open.
    fn holds_the_original_of(&mut self, copy: &Generation, now: Now) -> std::io::Result<bool> {
        if copy.kind != Kind::Copy {
            return Ok(false);
        }
        for known in self.queue.iter_mut().chain(&mut self.lingering) {
            if known.refresh(now.instant)?.is_ok() && known.unlinked && known.size > 0 && known.is_beginning_of(copy)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The lingering files: one that grew goes back to the front of the queue, one that stayed quiet is closed.
    fn observe_lingering(&mut self, siblings: &Siblings<'_>, now: Now) -> std::io::Result<()> {
        self.replaying &= self.queue.iter().any(Generation::may_have_lines);
        if self.replaying {
            return Ok(());
        }
        for mut generation in std::mem::take(&mut self.lingering) {
            if generation.refresh(now.instant)?.is_err() {
                continue;
            }
            if generation.has_grown_past_its_end() {
                generation.clear_end();
                generation.mark_end_if_copy();
                generation.late = true;
                self.write_ahead = true;
                self.queue.push_front(generation);
                continue;
            }
            let is_over = generation.is_finished_for(now.instant, LINGER);
            if !is_over || generation.late && !self.may_be_closed(&mut generation, siblings, now)? {
                self.lingering.push(generation);
            }
        }
        Ok(())
    }

    /// Whether a finished file that grew late may be closed: nobody takes it for an unknown file and opens it again.
    ///
    /// A file that was empty when it was rotated may be younger than the anchor. It becomes the anchor once every older
    /// file is finished. Until then it stays open.
    fn may_be_closed(&mut self, late: &mut Generation, siblings: &Siblings<'_>, now: Now) -> std::io::Result<bool> {
        let inode = siblings.copy_of_open(late, now);
        let is_younger = self.younger_than(0, siblings, now)?.iter().any(|found| Some(found.inode) == inode);
        if siblings.are_stale() {
            return Ok(false);
        }
        if !is_younger {
            return Ok(true);
        }
        if self.queue.iter().any(|known| !known.late && known.kind != Kind::Live) {
            return Ok(false);
        }
        self.anchor = Some(late.record());
        Ok(true)
    }

    /// Keeps a file open that was renamed or deleted while it was empty: its writer may not have noticed.
    fn linger(&mut self, mut empty: Generation, live: Option<&Generation>, now: Now) -> std::io::Result<()> {
        if self.has_open(empty.inode) || empty.refresh(now.instant)?.is_err() {
            return Ok(());
        }
        // It may have been rewritten or compressed meanwhile. Then the other file holds the same bytes.
        if empty.unlinked && empty.size > 0 {
            for other in self.queue.iter().chain(live) {
                if empty.is_beginning_of(other)? {
                    return Ok(());
                }
            }
        }
        empty.kind = Kind::Rotated;
        empty.confirmed = true;
        self.lingering.push(empty.finished_at(now.instant));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;

    #[test]
    fn takes_a_file_for_truncated_only_if_a_new_listing_has_no_copy_of_it() {
        let mut place = Place::new();
        place.write("a.log", "one\n");
        place.scan();
        let listing = place.discovery.list().unwrap();
        // The file is copied, truncated and filled again after the listing.
        place.write("a.log.1", "one\ntwo\n");
        place.write("a.log", "three\n");
        place.scan_with(&listing);
        assert!(!place.counted("files_lost_total{reason=\"truncated\"} 1"));
        place.scan();
        let unread: Vec<_> = place.stream.queue.iter().map(super::Generation::unread).collect();
        assert_eq!(unread, [8, 6]);
    }

    #[test]
    fn reads_nothing_of_a_new_file_while_the_listing_may_lack_an_older_one() {
        let mut place = Place::new();
        place.write("a.log", "");
        place.scan();
        let listing = place.discovery.list().unwrap();
        // The file is filled, copied, truncated and filled again after the listing.
        place.write("a.log.1", "one\n");
        place.write("a.log", "three\n");
        place.scan_with(&listing);
        assert_eq!(place.stream.queue.iter().map(super::Generation::unread).sum::<u64>(), 0);
        place.scan();
        let unread: Vec<_> = place.stream.queue.iter().map(super::Generation::unread).collect();
        assert_eq!(unread, [4, 6]);
    }
}
