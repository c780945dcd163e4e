//! Chooses which new files to follow, and how many.
//!
//! A directory may hold any number of names. The cost of a scan stays proportional to it: one map per scan finds the open
//! and finished files by inode.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::rotated::Siblings;
use super::stream::Stream;
use super::{Now, Tail};
use crate::discover::{Found, Inode, LeftOut};
use crate::entries::SLOTS;
use crate::labels;

/// The inodes that belong to streams.
struct Taken {
    /// Open files, and files under the name of a stream.
    open: HashSet<Inode>,
    /// The inode numbers of the files that the streams finished last.
    finished: HashSet<u64>,
}

impl Tail {
    /// Follows new files. Returns whether it needs a newer listing.
    pub(super) fn follow_new_files(&mut self, now: Now) -> bool {
        let mut arrivals: Vec<_> = self.listing.iter().filter(|found| self.is_new(&found.name)).cloned().collect();
        self.not_followed = 0;
        if arrivals.is_empty() {
            return false;
        }
        let followed = self.streams.iter().filter(|stream| stream.open_files() > 0).count();
        // Each stream may have a rotated file open as well.
        let mut room = self.limits.followed.min(self.limits.open_files / 2).saturating_sub(followed);
        // Links come last: a file is followed under its own name, if it has one.
        if arrivals.len() > room {
            arrivals.sort_by_key(|found| (found.link, Reverse(found.modified)));
        } else {
            arrivals.sort_by_key(|found| found.link);
        }
        let mut taken = self.taken();
        let mut needs_listing = false;
        for found in arrivals {
            // This is a second name of a followed file, or a followed file was renamed to a name that the globs match.
            if taken.open.contains(&found.inode) {
                continue;
            }
            let Some(left) = room.checked_sub(1) else {
                self.not_followed += 1;
                continue;
            };
            room = left;
            taken.open.insert(found.inode);
            needs_listing |= self.follow(&found, &taken, now);
        }
        needs_listing
    }

    /// Whether a file of this name should be followed but is not yet.
    fn is_new(&self, name: &str) -> bool {
        self.place(name).is_err() && self.discovery.is_stream(name)
    }

    pub(super) fn place(&self, name: &str) -> Result<usize, usize> {
        self.streams.binary_search_by(|stream| stream.name.as_ref().cmp(name))
    }

    fn taken(&self) -> Taken {
        let named = self.listing.iter().filter(|found| self.place(&found.name).is_ok()).map(|found| found.inode);
        let open = self.streams.iter().flat_map(Stream::open_inodes);
        let finished = self.streams.iter().filter_map(Stream::finished_inode).collect();
        Taken { open: named.chain(open).collect(), finished }
    }

    fn follow(&mut self, found: &Found, taken: &Taken, now: Now) -> bool {
        let siblings = Siblings::of(&found.name, &self.listing, &self.before, &self.discovery);
        let mut stream = Stream::of(&found.name, self.next_slot(&found.name), &self.settings);
        stream.begin(&siblings);
        if taken.finished.contains(&found.inode.inode)
            && let Some((chain, file)) = self.streams.iter().find_map(|stream| stream.has_finished(found))
        {
            stream.take_over(chain, file, &siblings, now);
        }
        let needs_listing = stream.observe(&siblings, &self.metrics, now);
        if let Err(place) = self.place(&found.name) {
            self.streams.insert(place, stream);
        }
        needs_listing
    }

    /// Returns `None` if the file may have its own stream, else its slot in the shared stream. The position record keeps
    /// the choice, so that a resend goes to the stream of the first push.
    fn next_slot(&self, name: &str) -> Option<u16> {
        let shared: HashSet<_> = self.streams.iter().filter_map(Stream::slot).collect();
        let own = self.streams.len() - shared.len();
        // A file with the name of the shared stream belongs to it: its timestamps must differ from those of the other files.
        (own >= self.limits.streams || labels::stem(name) == labels::SHARED)
            .then(|| (0..SLOTS).find(|slot| !shared.contains(slot)).unwrap_or_default())
    }

    /// Forgets the streams that have been gone longest. At most as many are remembered as may be followed.
    pub(super) fn forget_longest_gone(&mut self) {
        let excess = self.streams.len().saturating_sub(2 * self.limits.followed);
        if excess == 0 {
            return;
        }
        let mut gone: Vec<_> = self.streams.iter().filter_map(Stream::gone_since).collect();
        gone.sort_unstable();
        let Some(latest) = gone.get(excess.min(gone.len()).saturating_sub(1)).copied() else { return };
        let gone = self.streams.extract_if(.., |stream| stream.gone_since().is_some_and(|since| since <= latest));
        self.forgotten.extend(gone.map(|stream| stream.name));
    }

    /// Counts the files that are not read, and logs each reason once.
    pub(super) fn report_left_out(&mut self) {
        let too_many = self.left_out.too_many + self.not_followed;
        let left_out = LeftOut { too_many, ..self.left_out };
        self.metrics.left_out(left_out);
        if too_many > 0 && !std::mem::replace(&mut self.already_logged.too_many, true) {
            let most = self.limits.followed.min(self.limits.open_files / 2);
            tracing::error!(
                left_out = too_many,
                most,
                "too many log files: some are not followed; raise the limit of open files, or narrow --include"
            );
        }
        let sharing = self.streams.iter().filter(|stream| stream.slot().is_some()).count();
        self.metrics.sharing(sharing);
        if sharing > 0 && !std::mem::replace(&mut self.already_logged.sharing, true) {
            tracing::warn!(
                files = sharing,
                most = self.limits.streams,
                "too many log files for a stream each: the newer ones share the stream log_file=\"other\"; narrow --include"
            );
        }
        if left_out.not_utf8 > 0 && !std::mem::replace(&mut self.already_logged.invalid_names, true) {
            tracing::error!(files = left_out.not_utf8, "log files whose names are not UTF-8 are not read; rename them");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::super::testing::{counted, tail};
    use super::*;
    use crate::state::Record;

    fn names(tail: &Tail) -> Vec<String> {
        tail.streams.iter().map(|stream| stream.name.to_string()).collect()
    }

    #[test]
    fn follows_a_bounded_number_of_files_known_and_recent_ones_first_and_counts_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, minutes: u64| {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_mins(minutes)).unwrap();
        };
        write("known.log", 9);
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        tail.limits.followed = 3;
        for (name, minutes) in [("a.log", 5), ("b.log", 1), ("c.log", 4), ("d.log", 2)] {
            write(name, minutes);
        }
        tail.scan(Now::read()).unwrap();
        assert_eq!(names(&tail), ["b.log", "d.log", "known.log"]);
        assert!(counted(&registry).contains("files_left_out{reason=\"too_many\"} 2"), "{}", counted(&registry));
        std::fs::remove_file(dir.path().join("b.log")).unwrap();
        // It is closed after a while, and another file takes its place.
        for minutes in 1..4 {
            let instant = Instant::now() + Duration::from_mins(2 * minutes);
            let at = Now { instant, ..Now::read() };
            tail.scan(at).unwrap();
            while tail.next_batch(at, true).is_some() {}
        }
        tail.scan(Now { instant: Instant::now() + Duration::from_mins(9), ..Now::read() }).unwrap();
        assert!(names(&tail).contains(&"c.log".to_owned()), "{:?}", names(&tail));
        assert!(counted(&registry).contains("files_left_out{reason=\"too_many\"} 1"), "{}", counted(&registry));
    }

    #[test]
    fn gives_a_bounded_number_of_files_a_stream_of_their_own_and_remembers_which() {
        let dir = tempfile::tempdir().unwrap();
        let line = "the same line\n";
        let write = |name: &str| std::fs::write(dir.path().join(name), line).unwrap();
        let (mut tail, registry) = tail(dir.path(), &Record::new());
        tail.limits.streams = 2;
        ["a.log", "b.log", "c.log", "d.log", "other.log"].into_iter().for_each(write);
        tail.scan(Now::read()).unwrap();
        let slots = |tail: &Tail| tail.streams.iter().map(Stream::slot).collect::<Vec<_>>();
        assert_eq!(slots(&tail), [None, None, Some(0), Some(1), Some(2)]);
        assert!(counted(&registry).contains("files_sharing_a_stream 3"), "{}", counted(&registry));
        let mut labels = Vec::new();
        while let Some(batch) = tail.next_batch(Now::read(), true) {
            let body = snap::raw::Decoder::new().decompress_vec(&batch.body).unwrap_or_default();
            let text = String::from_utf8_lossy(&body).into_owned();
            labels.extend(["a", "b", "other"].into_iter().filter(|of| text.contains(&format!("log_file=\"{of}\""))));
        }
        assert_eq!(labels, ["a", "b", "other", "other", "other"]);
        // A tail with room for all of them keeps each file in its stream.
        let (resumed, _) = super::super::testing::tail(dir.path(), &tail.record());
        assert_eq!(slots(&resumed), slots(&tail));
    }

    #[test]
    fn remembers_a_bounded_number_of_files_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut tail, _) = tail(dir.path(), &Record::new());
        tail.limits.followed = 2;
        let start = Now::read();
        for number in 0..20 {
            let at =
                |seconds: u64| Now { instant: start.instant + Duration::from_secs(300 * number + seconds), ..start };
            let path = dir.path().join(format!("{number:02}.log"));
            std::fs::write(&path, "").unwrap();
            tail.scan(at(0)).unwrap();
            std::fs::remove_file(&path).unwrap();
            for seconds in [1, 100, 200] {
                tail.scan(at(seconds)).unwrap();
                while tail.next_batch(at(seconds), true).is_some() {}
            }
            assert!(tail.streams.len() <= 4, "{:?}", names(&tail));
        }
        assert!(names(&tail).contains(&"19.log".to_owned()), "{:?}", names(&tail));
    }
}
