//! Opens files again that cannot be read any more, or gives them up.

use super::super::rotated::Siblings;
use super::Stream;
use crate::metrics::Metrics;
use crate::tail::Now;

impl Stream {
    /// Opens files again that cannot be read any more, for example after a volume was detached and attached again. Gives up
    /// a file that is gone.
    pub(super) fn reopen(&mut self, siblings: &Siblings<'_>, metrics: &Metrics, now: Now) {
        let mut gone = Vec::new();
        for (i, generation) in self.queue.iter_mut().enumerate() {
            if generation.refresh(now.instant).is_ok() {
                continue;
            }
            let record = generation.record();
            if let Some(mut found) = siblings.find(&record, now) {
                found.confirmed = generation.confirmed;
                *generation = found;
                metrics.reopened();
            } else if !siblings.may_contain(&record) && !siblings.are_stale() {
                gone.push(i);
            }
        }
        self.give_up(&gone, metrics);
        self.lingering.retain_mut(|generation| generation.refresh(now.instant).is_ok());
    }

    /// Removes generations from the queue whose unread lines are lost.
    pub(super) fn give_up(&mut self, gone: &[usize], metrics: &Metrics) {
        for i in gone.iter().rev() {
            if let Some(gone) = self.queue.remove(*i) {
                self.write_ahead = true;
                self.count_missing(&gone.record(), metrics);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::super::testing::Place;

    /// Drops the capabilities with which root reads any file, for this thread.
    fn drop_root_access() {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).unwrap();
    }

    #[test]
    fn opens_a_file_again_that_cannot_be_read_any_more() {
        let mut place = Place::new();
        place.write("a.log", "one\n");
        place.scan();
        assert_eq!(place.stream.state().unread, 4);
        place.fail(0);
        place.write("a.log", "one\ntwo\n");
        place.scan();
        assert!(place.stream.state().error.is_some());
        assert_eq!(place.stream.state().unread, 8);
        assert!(place.counted("files_reopened_total 1"));
    }

    #[test]
    fn follows_the_other_files_if_one_cannot_be_read() {
        let mut place = Place::new();
        place.write("a.log", "one\n");
        place.scan();
        std::fs::rename(place.dir.path().join("a.log"), place.dir.path().join("a.log.1")).unwrap();
        place.scan();
        place.fail(0);
        let rotated = place.dir.path().join("a.log.1");
        drop_root_access();
        std::fs::set_permissions(&rotated, std::fs::Permissions::from_mode(0o000)).unwrap();
        place.write("a.log", "three\n");
        place.scan();
        assert_eq!((place.stream.state().generations, place.stream.state().unread), (2, 10));
        assert!(place.stream.state().error.is_some());
        std::fs::set_permissions(&rotated, std::fs::Permissions::from_mode(0o600)).unwrap();
        place.scan();
        assert!(place.counted("files_reopened_total 1"));
    }

    #[test]
    fn gives_up_a_file_that_cannot_be_read_and_is_gone() {
        let mut place = Place::new();
        place.write("a.log", "one\n");
        place.scan();
        std::fs::remove_file(place.dir.path().join("a.log")).unwrap();
        place.scan();
        place.fail(0);
        place.write("a.log", "three\n");
        place.scan();
        assert_eq!((place.stream.state().generations, place.stream.state().unread), (1, 6));
        assert!(place.counted("files_lost_total{reason=\"missing\"} 1"));
    }
}
