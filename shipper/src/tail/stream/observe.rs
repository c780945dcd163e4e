//! What happened to the files of a stream while they were not looked at.

use super::super::generation::{Changed, Generation, Kind};
use super::super::rotated::Siblings;
use super::{LINGER, RETRY, Stream};
use crate::discover::Found;
use crate::metrics::{Lost, Metrics};
use crate::state::GenerationRecord;
use crate::tail::Now;

impl Stream {
    /// Looks at the live file and the rotated ones, and follows what happened to them. Whether another look at a new
    /// listing is needed is returned: what a file holds is only to be trusted if it held it before the listing was made.
    pub(in crate::tail) fn observe(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> bool {
        match self.follow(siblings, metrics, now) {
            Ok(again) => again,
            Err(error) => {
                self.fail(&error.to_string(), now.instant + RETRY);
                self.reopen(siblings, metrics, now);
                false
            }
        }
    }

    fn follow(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        // One that cannot be read must not keep the others from being followed.
        let rotated = self.observe_rotated(metrics, now);
        let again = self.observe_newest(siblings, metrics, now)?;
        rotated?;
        self.observe_lingering(siblings, now)?;
        let gone = siblings.are_gone() && !self.is_there();
        self.gone_since = gone.then(|| self.gone_since.unwrap_or(now.instant));
        if !again && !siblings.are_stale() {
            siblings.remember_youngest(&mut self.beside);
        }
        Ok(again)
    }

    /// The generations that are not live any more: only their content can surprise.
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

    /// The live file: as it was, rotated away, truncated, written anew, or seen for the first time.
    fn observe_newest(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) -> std::io::Result<bool> {
        let unconfirmed = self.queue.pop_back_if(|newest| !newest.confirmed);
        if let Some(newest) = self.queue.back_mut().filter(|newest| newest.kind == Kind::Live) {
            let still_live = siblings.live.is_some_and(|live| live.inode == newest.inode);
            // A look takes in what is new at its beginning.
            let ambiguous = newest.is_ambiguous().then(|| newest.record());
            match newest.refresh(now.instant)? {
                Ok(()) => {
                    if self.was_copied_away(ambiguous, siblings, now)? {
                        self.write_ahead = true;
                    } else if still_live || self.follow_replacement(siblings, now)? {
                        return Ok(false);
                    }
                }
                // The listing may be older than the change, and the copy not in it.
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
                        tracing::warn!(file = %self.name, bytes, "truncated, and no copy holds the unread rest");
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
        // If it began like this at the look before, it did so before this listing: everything before it is in there.
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
        let again = !live.confirmed && !live.has_no_content();
        self.queue.push_back(live);
        Ok(again)
    }

    /// The newest file is gone with its bytes. What was rotated before the last look is older than it was, also where that
    /// grew late and was finished after younger ones.
    pub(super) fn newest_is_gone(&mut self) {
        if self.queue.is_empty() && self.beside.is_some() {
            self.anchor.clone_from(&self.beside);
        }
    }

    /// The newest file stands under its name no more: another one with the same content does, or it was rotated away.
    fn follow_replacement(&mut self, siblings: &Siblings<'_>, now: Now) -> std::io::Result<bool> {
        let Some(newest) = self.queue.back().filter(|newest| newest.unlinked) else {
            self.rotate_newest();
            return Ok(false);
        };
        let record = newest.record();
        // Where there is a longer copy, somebody wrote on in the file that took its place, and rotated that one.
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

    /// The live file, where it is one that is followed as a rotated one, or was: its name was away for a while.
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

    /// Whether the newest file, of which next to nothing was read, was copied away and truncated, and begins with the same
    /// bytes again. Then the copy takes its place.
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

    /// The copy of a file of which next to nothing was read, so that others may well begin with the same bytes: the first
    /// one that was made since then. `generations` are older than the file.
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

    /// The rotated files that are younger than the first so many generations of the queue, or than the last one that was
    /// finished.
    fn younger_than<'a>(
        &mut self,
        generations: usize,
        siblings: &Siblings<'a>,
        now: Now,
    ) -> std::io::Result<Vec<&'a Found>> {
        // Where a finished one has grown late, younger ones may be finished, too.
        let before = self.queue.iter_mut().take(generations).rfind(|known| !known.late);
        Ok(match (before, &self.anchor) {
            (Some(before), _) => match siblings.copy_of_open(before, now) {
                Some(inode) => siblings.younger_than(Some(inode)),
                None => siblings.younger_than_deleted(before)?,
            },
            (None, Some(anchor)) if siblings.is_youngest(anchor) => Vec::new(),
            (None, Some(anchor)) => match siblings.find(anchor, now) {
                Some(found) if found.kind != Kind::Live => {
                    // It may have another inode by now: compressed.
                    self.anchor = Some(found.record());
                    siblings.younger_than(Some(found.inode))
                }
                Some(_) => Vec::new(),
                // It is deleted by now; what was there beside it takes its place.
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

    /// Opens the rotated files that are younger than the last one that is known, except a copy of the live file that
    /// is still being made.
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

    /// Whether a file is open that has no name any more and of which `copy` is the compressed form.
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

    /// Rotated files that were read to their end: back to the front where they grew, closed where they stayed quiet.
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
            let is_over = generation.was_left_before(now.instant, LINGER);
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

    /// Looks after a file that was renamed or deleted while it was empty: its writer may not know yet.
    fn linger(&mut self, mut empty: Generation, live: Option<&Generation>, now: Now) -> std::io::Result<()> {
        if self.has_open(empty.inode) || empty.refresh(now.instant)?.is_err() {
            return Ok(());
        }
        // Or somebody has written it anew meanwhile, or compressed it.
        if empty.unlinked && empty.size > 0 {
            for other in self.queue.iter().chain(live) {
                if empty.is_beginning_of(other)? {
                    return Ok(());
                }
            }
        }
        empty.kind = Kind::Rotated;
        empty.confirmed = true;
        self.lingering.push(empty.left_at(now.instant));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;

    #[test]
    fn takes_a_file_for_truncated_only_where_a_new_listing_has_no_copy_of_it() {
        let mut place = Place::new();
        place.write("a.log", "one\n");
        place.scan();
        let listing = place.discovery.list().unwrap();
        // It is copied, truncated and filled again after the listing was made.
        place.write("a.log.1", "one\ntwo\n");
        place.write("a.log", "three\n");
        place.scan_with(&listing);
        assert!(!place.counted("files_lost_total{reason=\"truncated\"} 1"));
        place.scan();
        let unread: Vec<_> = place.stream.queue.iter().map(super::Generation::unread).collect();
        assert_eq!(unread, [8, 6]);
    }

    #[test]
    fn hands_out_nothing_of_a_new_file_while_the_listing_may_lack_what_comes_before_it() {
        let mut place = Place::new();
        place.write("a.log", "");
        place.scan();
        let listing = place.discovery.list().unwrap();
        // It is filled, copied, truncated and filled again after the listing was made.
        place.write("a.log.1", "one\n");
        place.write("a.log", "three\n");
        place.scan_with(&listing);
        assert_eq!(place.stream.queue.iter().map(super::Generation::unread).sum::<u64>(), 0);
        place.scan();
        let unread: Vec<_> = place.stream.queue.iter().map(super::Generation::unread).collect();
        assert_eq!(unread, [4, 6]);
    }
}
