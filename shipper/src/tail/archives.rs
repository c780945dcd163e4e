//! Decompresses one archive at a time: each takes memory, and after a downtime every stream may have archives.

use super::Tail;

impl Tail {
    /// Whether this stream may decompress an archive now. The other streams wait until the archive is read to its end.
    pub(super) fn may_decompress(&mut self, turn: usize) -> bool {
        let busy = self.decompressing.as_deref();
        let mut others = self.streams.iter().enumerate().filter(|(at, stream)| *at != turn && stream.decompresses());
        if others.any(|(_, stream)| Some(&*stream.name) == busy) {
            return false;
        }
        self.decompressing = self.streams.get(turn).map(|stream| stream.name.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs::File;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::testing::tail;
    use super::*;
    use crate::state::Record;
    use crate::tail::Now;
    use crate::tail::stream::Stream;

    const NAMES: [&str; 3] = ["a.log", "b.log", "c.log"];

    #[test]
    fn decompresses_one_archive_at_a_time_and_makes_others_wait_for_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for number in 0..20_000 {
            writeln!(lines, "line {number}").unwrap();
        }
        for name in NAMES {
            std::fs::write(dir.path().join(name), &lines).unwrap();
        }
        let (mut first, _) = tail(dir.path(), &Record::new());
        let mut record = first.record();
        let mut entries = 0;
        while record.values().any(|stream| stream.queue.iter().all(|generation| generation.position == 0)) {
            let batch = first.next_batch(Now::read(), true).unwrap();
            entries += batch.entries;
            record.insert(batch.name.to_string(), batch.after.unwrap());
        }
        drop(first);
        for name in NAMES {
            let archive = File::create(dir.path().join(format!("{name}.1.gz"))).unwrap();
            let mut gzip = GzEncoder::new(archive, Compression::fast());
            gzip.write_all(lines.as_bytes()).unwrap();
            gzip.finish().unwrap();
            std::fs::write(dir.path().join(name), "the last line\n").unwrap();
        }
        let (mut tail, _) = tail(dir.path(), &record);
        let decoders = |tail: &Tail| tail.streams.iter().map(Stream::archives_with_decoder).sum::<usize>();
        assert_eq!(decoders(&tail), 0);
        let mut names = Vec::new();
        while let Some(batch) = tail.next_batch(Now::read(), true) {
            entries += batch.entries;
            assert!(decoders(&tail) <= 1);
            if batch.entries > 1 {
                names.push(batch.name);
            }
        }
        assert_eq!(entries, 3 * 20_001);
        names.dedup();
        assert_eq!(names.len(), 3, "{names:?}");
    }
}
