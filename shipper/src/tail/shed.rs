//! Closes files when deleted files take too much disk, or too many files are open. Redis needs both, too.

use super::Tail;
use super::stream::Stream;

impl Tail {
    /// Over the byte limit, closes deleted files: fully read ones first, then the oldest. Over the descriptor limit, closes
    /// fully read files first, then deleted ones.
    pub(super) fn shed(&mut self) {
        while self.streams.iter().map(Stream::deleted).sum::<u64>() > self.limits.deleted_bytes {
            if !self.close_first_deleted() {
                break;
            }
        }
        while self.streams.iter().map(Stream::open_files).sum::<usize>() > self.limits.open_files {
            if !self.close_oldest_lingering() && !self.close_first_deleted() {
                break;
            }
        }
    }

    /// Closes the rotated file that was fully read first. Returns `false` if there is none.
    fn close_oldest_lingering(&mut self) -> bool {
        let read = self.streams.iter_mut().filter(|stream| stream.lingering_since().is_some());
        let Some(oldest) = read.min_by_key(|stream| stream.lingering_since()) else { return false };
        oldest.close_oldest_lingering();
        true
    }

    /// Closes the first deleted file in the order of [`Stream::first_deleted`]. Returns `false` if there is none.
    fn close_first_deleted(&mut self) -> bool {
        let deleted = self.streams.iter_mut().filter(|stream| stream.first_deleted().is_some());
        let Some(first) = deleted.min_by_key(|stream| stream.first_deleted()) else { return false };
        first.close_first_deleted(&self.metrics);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::super::testing::{counted, tail};
    use crate::state::Record;
    use crate::tail::Now;

    #[test]
    fn drops_fully_read_deleted_files_before_unread_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let start = Now { instant: Instant::now(), ..Now::read() };
        let at = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        // One file is fully read and deleted. A new file has its name.
        std::fs::write(path("read.log"), "read\n").unwrap();
        tail.scan(at(0)).unwrap();
        std::fs::remove_file(path("read.log")).unwrap();
        std::fs::write(path("read.log"), "new\n").unwrap();
        tail.scan(at(1)).unwrap();
        while tail.next_batch(at(6), true).is_some() {}
        // The other file is older and unread.
        let file = std::fs::File::create(path("unread.log")).unwrap();
        std::io::Write::write_all(&mut &file, b"1 unread\n").unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(5)).unwrap();
        tail.scan(at(7)).unwrap();
        std::fs::remove_file(path("unread.log")).unwrap();
        tail.scan(at(8)).unwrap();
        let unread = tail.streams.iter().find(|stream| &*stream.name == "unread.log").unwrap().deleted();
        assert_eq!(tail.streams.iter().map(super::Stream::deleted).sum::<u64>(), 2 * unread);
        tail.limits.deleted_bytes = unread;
        tail.scan(at(9)).unwrap();
        assert_eq!(tail.streams.iter().map(super::Stream::deleted).sum::<u64>(), unread);
        assert!(!counted(&registry).contains("reason=\"shed\""), "{}", counted(&registry));
        tail.limits.deleted_bytes = 0;
        tail.scan(at(10)).unwrap();
        assert!(counted(&registry).contains("bytes_lost_total{reason=\"shed\"} 9"), "{}", counted(&registry));
    }

    #[test]
    fn keeps_few_files_open_and_closes_fully_read_files_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let start = Now { instant: Instant::now(), ..Now::read() };
        let at = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        tail.limits.open_files = 3;
        // Two files are fully read and deleted, one after the other.
        for turn in 0..2 {
            std::fs::write(path("a.log"), format!("{turn}\n")).unwrap();
            tail.scan(at(10 * turn)).unwrap();
            std::fs::rename(path("a.log"), path("a.log.1")).unwrap();
            std::fs::write(path("a.log"), "x").unwrap();
            tail.scan(at(10 * turn)).unwrap();
            while tail.next_batch(at(10 * turn + 5), true).is_some() {}
            std::fs::remove_file(path("a.log")).unwrap();
        }
        // Four more are deleted unread.
        for turn in 2..6 {
            std::fs::write(path("a.log"), format!("{turn} unread\n")).unwrap();
            tail.scan(at(20)).unwrap();
            let open: usize = tail.streams.iter().map(super::Stream::open_files).sum();
            assert!(open <= 3, "{open}");
            std::fs::remove_file(path("a.log")).unwrap();
            if turn == 3 {
                assert!(!counted(&registry).contains("reason=\"shed\""), "{}", counted(&registry));
            }
        }
        assert!(counted(&registry).contains("bytes_lost_total{reason=\"shed\"}"), "{}", counted(&registry));
    }
}
