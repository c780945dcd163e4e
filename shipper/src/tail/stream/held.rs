//! What a stream holds on to: descriptors, memory, and bytes of deleted files; and when it lets go.

use std::time::{Duration, Instant};

use super::super::generation::{Generation, Kind};
use super::{LINGER, Stream};
use crate::metrics::{Lost, Metrics};

/// A stream of which nothing is left is forgotten after this time.
const GONE: Duration = Duration::from_hours(24);

impl Stream {
    /// Whether there are files of it, as far as one can tell.
    pub(in crate::tail) fn is_there(&self) -> bool {
        self.open_files() > 0 || self.failed.is_some()
    }

    /// Whether nothing has stood under its name for so long that whatever comes there has nothing to do with it.
    pub(in crate::tail) fn is_history(&self, now: Instant) -> bool {
        self.gone_since.is_some_and(|since| now.saturating_duration_since(since) >= GONE)
    }

    /// How many files are open.
    pub(in crate::tail) fn open_files(&self) -> usize {
        self.queue.len() + self.lingering.len()
    }

    /// Whether what it hands out next has to be decompressed.
    pub(in crate::tail) fn decompresses(&self) -> bool {
        self.failed.is_none() && self.queue.front().is_some_and(|front| front.is_compressed() && front.rest() > 0)
    }

    /// How many files hold memory to be decompressed on.
    #[cfg(test)]
    pub(in crate::tail) fn archives_with_decoder(&self) -> usize {
        self.queue.iter().chain(&self.lingering).filter(|known| known.has_decoder()).count()
    }

    /// When the first of the files was left that are read to their end.
    pub(in crate::tail) fn left_since(&self) -> Option<Instant> {
        self.lingering.iter().map(Generation::left_since).min()
    }

    /// Looks after that one no longer.
    pub(in crate::tail) fn leave_oldest(&mut self) {
        let since = self.left_since();
        self.lingering.retain(|known| Some(known.left_since()) != since);
    }

    /// Bytes of files that nobody but us keeps on the disk.
    pub(in crate::tail) fn deleted(&self) -> u64 {
        self.queue.iter().chain(&self.lingering).map(Generation::deleted).sum()
    }

    /// Whether the first of those files to be given up is not read to its end, and when it was written to last: those that
    /// are go first.
    pub(in crate::tail) fn deleted_since(&self) -> Option<(bool, Instant)> {
        let read = self.lingering.iter().map(|known| (false, known));
        let all = read.chain(self.queue.iter().map(|known| (true, known)));
        all.filter(|(_, known)| known.deleted() > 0).map(|(unread, known)| (unread, known.grew_at)).min()
    }

    /// Gives up that file.
    pub(in crate::tail) fn shed_oldest(&mut self, metrics: &Metrics) {
        let Some((unread, since)) = self.deleted_since() else { return };
        let is_oldest = |known: &Generation| known.deleted() > 0 && known.grew_at == since;
        if !unread {
            self.lingering.retain(|known| !is_oldest(known));
            return;
        }
        let Some(shed) = self.queue.iter().position(is_oldest).and_then(|at| self.queue.remove(at)) else { return };
        self.write_ahead = true;
        let bytes = shed.rest();
        metrics.lost(Lost::Shed, bytes);
        tracing::error!(
            file = %self.name,
            bytes,
            "a deleted file took too much of the disk and is given up before it was shipped"
        );
    }

    /// When the only file, that none took the place of, is let go of: one that was deleted once nobody has written to it
    /// for long, an archive once it is read.
    pub(super) fn gone_at(&self) -> Option<Instant> {
        let only = self.queue.front().filter(|only| self.queue.len() == 1 && only.kind != Kind::Live)?;
        let is_read = only.is_compressed() && only.is_at_its_end();
        if is_read { Some(only.grew_at) } else { only.unlinked.then(|| only.grew_at + LINGER) }
    }
}
