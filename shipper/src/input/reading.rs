//! The bytes of one complete file to entries.

use std::io::Read;

use jiff::tz::TimeZone;

use crate::drop::FileDrops;
use crate::entries::{Chain, Clock};
use crate::extract::{EntryLimits, Extractor, Sink, Unread, first_time};
use crate::formats::TimeReader;
use crate::metrics::Handed;
use crate::redaction::{BEFORE, Carried, Redactor};

/// What the files of one log file share: the time of an entry depends on the entry before it.
#[derive(Debug)]
pub(crate) struct Series {
    times: TimeReader,
    chain: Chain,
    scratch: Vec<u8>,
}

impl Series {
    /// A log file of which nothing is read yet.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { times: TimeReader::new(zone), chain: Chain::default(), scratch: Vec::new() }
    }
}

/// What all files share.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) redactor: &'a mut Redactor,
    pub(crate) drops: &'a FileDrops<'a>,
    pub(crate) handed: &'a mut Handed,
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next step reads more bytes.
    More,
    /// The sink takes no more.
    Full,
    /// The file is read to its end.
    Ended,
}

/// A complete file that is being read.
#[derive(Debug)]
pub(crate) struct OpenFile<R> {
    source: R,
    chunk: Vec<u8>,
    /// How many bytes of the chunk are filled.
    filled: usize,
    /// How many of them are extracted.
    used: usize,
    /// The position of the first byte that is not extracted.
    position: u64,
    at_end: bool,
    /// Whether more bytes are needed.
    is_hungry: bool,
    /// Whether entries are extracted as soon as their bytes are there.
    is_live: bool,
    redaction: Option<Carried>,
    /// The wall clock, in nanoseconds since 1970 UTC.
    now: i64,
    /// The time of lines before the first timestamp, if no line follows that has one.
    modified: i64,
    clock: Option<Clock>,
}

impl<R: Read> OpenFile<R> {
    /// Reads `source` in chunks of `chunk_bytes`, which must hold the longest line. `now` is the wall clock, and `modified`
    /// the last modification of the file, both in nanoseconds since 1970 UTC.
    pub(crate) fn new(source: R, chunk_bytes: usize, now: i64, modified: Option<i64>) -> Self {
        Self {
            source,
            chunk: vec![0; chunk_bytes + BEFORE],
            filled: 0,
            used: 0,
            position: 0,
            at_end: false,
            is_hungry: true,
            is_live: false,
            redaction: None,
            now,
            modified: modified.unwrap_or(now).min(now),
            clock: None,
        }
    }

    /// Extracts entries as soon as their bytes are there. The times of lines before the first timestamp then depend on how many
    /// bytes come at once.
    pub(crate) fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// The position of the first byte that is not extracted.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Extracts what is there. Reads more bytes first if the step before used up what it could.
    pub(crate) fn step<S: Sink>(
        &mut self,
        series: &mut Series,
        limits: EntryLimits,
        tools: Tools<'_>,
        sink: &mut S,
    ) -> std::io::Result<Step> {
        if std::mem::take(&mut self.is_hungry) {
            self.fill()?;
        }
        let around = self.chunk.get(..self.filled).unwrap_or_default();
        let bytes = around.get(self.used..).unwrap_or_default();
        let clock = *self.clock.get_or_insert_with(|| {
            let first = (!series.chain.timed).then(|| first_time(bytes, limits.max_line, &mut series.times, self.now));
            Clock { now: self.now, untimed: first.flatten().unwrap_or(self.modified) }
        });
        let Series { times, chain, scratch } = series;
        let Tools { redactor, drops, handed } = tools;
        let mut extractor = Extractor { limits, times, scratch, chain, redactor, drops, handed };
        let unread = Unread {
            around,
            lead: self.used,
            bytes,
            at_end: self.at_end,
            closed: usize::MAX,
            position: self.position,
            stop: usize::MAX,
        };
        let taken = extractor.extract(unread, self.redaction, clock, sink);
        self.redaction = taken.redaction;
        self.used += taken.used;
        self.position += taken.used as u64;
        if taken.waiting.is_none() {
            return Ok(Step::Full);
        }
        if self.at_end {
            return Ok(Step::Ended);
        }
        self.is_hungry = true;
        Ok(Step::More)
    }

    /// Reads into the room that the extracted bytes leave. The last of them stay, because the redaction reads them.
    fn fill(&mut self) -> std::io::Result<()> {
        let start = self.used.saturating_sub(BEFORE);
        self.chunk.copy_within(start..self.filled, 0);
        self.filled -= start;
        self.used -= start;
        while let Some(room) = self.chunk.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(read) => {
                    self.filled += read;
                    self.at_end = read == 0;
                    if self.at_end || self.is_live {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::extract::Entry;
    use crate::redaction::Redaction;

    const LIMITS: EntryLimits = EntryLimits { max_line: 4096, max_age: std::time::Duration::MAX, multiline: true };
    const NOW: i64 = 1_800_000_000_000_000_000;

    /// Takes so many entries at a time.
    #[derive(Default)]
    struct Kept {
        room: usize,
        entries: Vec<(i64, String)>,
    }

    impl Sink for Kept {
        fn has_room_for(&self, _len: usize) -> bool {
            self.entries.len() < self.room
        }

        fn push(&mut self, entry: &Entry<'_>) -> bool {
            self.entries.push((entry.time, String::from_utf8_lossy(entry.line).into_owned()));
            false
        }
    }

    /// Returns its parts one by one, as a pipe does.
    struct Parts<'a>(VecDeque<&'a [u8]>);

    impl Read for Parts<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(mut part) = self.0.pop_front() else { return Ok(0) };
            let read = part.read(buffer)?;
            if !part.is_empty() {
                self.0.push_front(part);
            }
            Ok(read)
        }
    }

    fn entries(parts: &[&[u8]], room: usize) -> Vec<(i64, String)> {
        let mut redactor = Redactor::new(&Redaction::default(), LIMITS.max_line, |_| {
            prometheus_client::metrics::counter::Counter::default()
        });
        let source = Parts(parts.iter().copied().collect());
        let (mut file, mut series) = (OpenFile::new(source, 8192, NOW, Some(7)), Series::new(TimeZone::UTC));
        let drops = crate::drop::Drops::default();
        let drops = drops.of("a.log");
        let (mut kept, mut handed) = (Kept { room, ..Kept::default() }, Handed::default());
        loop {
            let tools = Tools { redactor: &mut redactor, drops: &drops, handed: &mut handed };
            match file.step(&mut series, LIMITS, tools, &mut kept).unwrap() {
                Step::More => {}
                Step::Full => kept.room += room,
                Step::Ended => return kept.entries,
            }
        }
    }

    #[test]
    fn makes_the_same_entries_wherever_reads_and_batches_end() {
        let text = "before\n2026-02-20 22:31:07,000 INFO a password=hunter2x\n  more\n\
                    2026-02-20 22:31:08,000 INFO b"
            .as_bytes();
        let whole = entries(&[text], 100);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[1].1, "2026-02-20 22:31:07,000 INFO a password=[redacted:8-15]\n  more");
        for at in 1..text.len() {
            assert_eq!(entries(&[&text[..at], &text[at..]], 1), whole, "at {at}");
        }
    }

    #[test]
    fn takes_the_last_modification_for_the_time_where_no_line_has_a_timestamp() {
        assert_eq!(entries(&[b"a\nb\n"], 9), [(7, "a".to_owned()), (8, "b".to_owned())]);
    }

    #[test]
    fn reads_lines_of_any_length_in_bounded_memory() {
        let long = "x".repeat(50_000);
        let lines: String = entries(&[long.as_bytes()], 9).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, long);
    }
}
