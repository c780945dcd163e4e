//! Which resources a stream holds (descriptors, decoders, deleted files on disk), and when it releases them.

use std::time::{Duration, Instant};

use findings::Code;

use super::super::generation::{Generation, Kind};
use super::{LINGER, Stream};
use crate::metrics::{Lost, Metrics};

/// A stream without any file is forgotten after this time.
const GONE: Duration = Duration::from_hours(24);

impl Stream {
    /// Whether the stream has open files, or a file that it could not read.
    pub(in crate::tail) fn is_there(&self) -> bool {
        self.open_files() > 0 || self.failed.is_some()
    }

    /// Whether the stream has had no file for so long that a new file of its name is unrelated.
    pub(in crate::tail) fn is_forgettable(&self, now: Instant) -> bool {
        self.gone_since.is_some_and(|since| now.saturating_duration_since(since) >= GONE)
    }

    /// The number of open files.
    pub(in crate::tail) fn open_files(&self) -> usize {
        self.queue.len() + self.lingering.len()
    }

    /// Whether its next bytes have to be decompressed.
    pub(in crate::tail) fn decompresses(&self) -> bool {
        self.failed.is_none() && self.queue.front().is_some_and(|front| front.is_compressed() && front.rest() > 0)
    }

    /// The number of archives that hold a decoder.
    #[cfg(test)]
    pub(in crate::tail) fn archives_with_decoder(&self) -> usize {
        self.queue.iter().chain(&self.lingering).filter(|known| known.has_decoder()).count()
    }

    /// Since when the longest lingering file is fully read and quiet.
    pub(in crate::tail) fn lingering_since(&self) -> Option<Instant> {
        self.lingering.iter().map(Generation::finished_since).min()
    }

    /// Closes the longest lingering file.
    pub(in crate::tail) fn close_oldest_lingering(&mut self) {
        let since = self.lingering_since();
        self.lingering.retain(|known| Some(known.finished_since()) != since);
    }

    /// Bytes on disk of the deleted files that it keeps open.
    pub(in crate::tail) fn deleted(&self) -> u64 {
        self.queue.iter().chain(&self.lingering).map(Generation::deleted).sum()
    }

    /// Sort key of the next deleted file to close: (has unread data, last growth).
    pub(in crate::tail) fn first_deleted(&self) -> Option<(bool, Instant)> {
        let read = self.lingering.iter().map(|known| (false, known));
        let all = read.chain(self.queue.iter().map(|known| (true, known)));
        all.filter(|(_, known)| known.deleted() > 0).map(|(unread, known)| (unread, known.grew_at)).min()
    }

    /// Closes that file, and counts its unread bytes as lost.
    pub(in crate::tail) fn close_first_deleted(&mut self, metrics: &Metrics) {
        let Some((unread, since)) = self.first_deleted() else { return };
        let is_first = |known: &Generation| known.deleted() > 0 && known.grew_at == since;
        if !unread {
            self.lingering.retain(|known| !is_first(known));
            return;
        }
        let Some(shed) = self.queue.iter().position(is_first).and_then(|at| self.queue.remove(at)) else { return };
        self.write_ahead = true;
        let bytes = shed.rest();
        metrics.lost(Lost::Shed, bytes);
        tracing::error!(
            code = Code::LinesLost.as_str(),
            file = %self.name,
            bytes,
            "closed a deleted file before it was shipped: deleted files took too much disk"
        );
    }

    /// When to close the only file if no new file took its place: a deleted file after a quiet minute, an archive once it
    /// is fully read.
    pub(super) fn closes_only_file_at(&self) -> Option<Instant> {
        let only = self.queue.front().filter(|only| self.queue.len() == 1 && only.kind != Kind::Live)?;
        let is_read = only.is_compressed() && only.is_at_its_end();
        if is_read { Some(only.grew_at) } else { only.unlinked.then(|| only.grew_at + LINGER) }
    }
}
