//! What is given up so that the disk and the descriptors last: both belong to others as well.

use super::Tail;
use super::stream::Stream;

/// How many bytes of deleted files are kept on the disk because they are not shipped yet.
pub const DELETED: u64 = 256 << 20;

/// Descriptors that are needed for other things than log files.
const OTHER_FILES: u64 = 64;

impl Tail {
    /// Lets go of what is too much: of files that nobody but us keeps on the disk, those that are read already before those
    /// that are not, the oldest first; where too many are open, of all that are read already before those.
    pub(super) fn shed(&mut self) {
        while self.streams.iter().map(Stream::deleted).sum::<u64>() > self.max_deleted {
            if !self.shed_oldest() {
                break;
            }
        }
        while self.streams.iter().map(Stream::open_files).sum::<usize>() > self.max_open {
            if !self.leave_oldest() && !self.shed_oldest() {
                break;
            }
        }
    }

    /// Looks no longer after the file that was read to its end first, if there is one.
    fn leave_oldest(&mut self) -> bool {
        let read = self.streams.iter_mut().filter(|stream| stream.left_since().is_some());
        let Some(oldest) = read.min_by_key(|stream| stream.left_since()) else { return false };
        oldest.leave_oldest();
        true
    }

    /// Gives up the oldest deleted file, if there is one.
    fn shed_oldest(&mut self) -> bool {
        let deleted = self.streams.iter_mut().filter(|stream| stream.deleted_since().is_some());
        let Some(oldest) = deleted.min_by_key(|stream| stream.deleted_since()) else { return false };
        oldest.shed_oldest(&self.metrics);
        true
    }
}

/// How many log files may be open at a time. The limit is raised as far as we may.
pub(super) fn max_open() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::super::testing::{counted, tail};
    use crate::state::Record;
    use crate::tail::Now;

    #[test]
    fn gives_up_deleted_files_that_are_read_before_one_that_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let start = Now { instant: Instant::now(), ..Now::read() };
        let at = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        // One is read to its end when it is deleted, and another has its name by now.
        std::fs::write(path("read.log"), "read\n").unwrap();
        tail.scan(at(0)).unwrap();
        std::fs::remove_file(path("read.log")).unwrap();
        std::fs::write(path("read.log"), "new\n").unwrap();
        tail.scan(at(1)).unwrap();
        while tail.next_batch(at(6), true).is_some() {}
        // The other one is older and is not read.
        let file = std::fs::File::create(path("unread.log")).unwrap();
        std::io::Write::write_all(&mut &file, b"1 unread\n").unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(5)).unwrap();
        tail.scan(at(7)).unwrap();
        std::fs::remove_file(path("unread.log")).unwrap();
        tail.scan(at(8)).unwrap();
        let unread = tail.streams.iter().find(|stream| &*stream.name == "unread.log").unwrap().deleted();
        assert_eq!(tail.streams.iter().map(super::Stream::deleted).sum::<u64>(), 2 * unread);
        tail.max_deleted = unread;
        tail.scan(at(9)).unwrap();
        assert_eq!(tail.streams.iter().map(super::Stream::deleted).sum::<u64>(), unread);
        assert!(!counted(&registry).contains("reason=\"shed\""), "{}", counted(&registry));
        tail.max_deleted = 0;
        tail.scan(at(10)).unwrap();
        assert!(counted(&registry).contains("bytes_lost_total{reason=\"shed\"} 9"), "{}", counted(&registry));
    }

    #[test]
    fn keeps_few_files_open_and_gives_up_what_is_read_before_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let start = Now { instant: Instant::now(), ..Now::read() };
        let at = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        tail.max_open = 3;
        // Two are read to their end and deleted, one after the other.
        for turn in 0..2 {
            std::fs::write(path("a.log"), format!("{turn}\n")).unwrap();
            tail.scan(at(10 * turn)).unwrap();
            std::fs::rename(path("a.log"), path("a.log.1")).unwrap();
            std::fs::write(path("a.log"), "x").unwrap();
            tail.scan(at(10 * turn)).unwrap();
            while tail.next_batch(at(10 * turn + 5), true).is_some() {}
            std::fs::remove_file(path("a.log")).unwrap();
        }
        // Others are not.
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
