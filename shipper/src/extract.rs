//! Bytes to entries, in one pass: lines, texts, redaction, times, drop rules.
//!
//! It does not know where the bytes come from, or where the entries go. The tail extracts from files that grow, `preview` and
//! support packages from bytes that are complete. So all of them make the same entries of the same bytes.

use std::time::Duration;

use crate::drop::FileDrops;
use crate::entries::{Basis, Chain, Clock};
use crate::formats::level::Level;
use crate::formats::{Format, Reference, TimeReader, Timestamp};
use crate::lines::{hole, next_line};
use crate::metrics::Handed;
use crate::plain::Plain;
use crate::redaction::{BEFORE, Carried, Redactor, Scan, Text};
use crate::texts::{Ends, Waiting, next_text};

/// UTF-8's byte order mark, which some programs write first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of a file that are not extracted yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread<'a> {
    /// The bytes, and some extracted bytes before them.
    pub(crate) around: &'a [u8],
    /// How many bytes of `around` are extracted already.
    pub(crate) lead: usize,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
    /// Whether these bytes reach the final end of the file.
    pub(crate) at_end: bool,
    /// How many of them belong to texts that are complete because no line followed.
    pub(crate) closed: usize,
    /// Their position in the file.
    pub(crate) position: u64,
    /// How many of them still see the clock in the record.
    pub(crate) stop: usize,
}

impl Unread<'_> {
    /// The bytes before offset `used`, as many as the redaction reads.
    fn before(&self, used: usize) -> &[u8] {
        let end = self.lead + used;
        self.around.get(end.saturating_sub(BEFORE)..end).unwrap_or_default()
    }
}

/// What bounds entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryLimits {
    /// The longest line in bytes.
    pub(crate) max_line: usize,
    /// Older entries are skipped.
    pub(crate) max_age: Duration,
    /// Whether a line without a timestamp continues the line before it.
    pub(crate) multiline: bool,
}

/// An entry as it is pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// In nanoseconds since 1970 UTC.
    pub(crate) time: i64,
    /// Without its secrets.
    pub(crate) line: &'a [u8],
    pub(crate) level: Option<Level>,
    /// Whether the line is certainly ASCII.
    pub(crate) is_ascii: bool,
    /// What its time rests on.
    pub(crate) basis: Basis,
    /// The format of its first line; `None` if that has no timestamp.
    pub(crate) format: Option<Format>,
    /// Whether a secret in it was replaced.
    pub(crate) is_redacted: bool,
}

/// Why an entry is not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Loki would reject it for its age.
    TooOld,
    /// A drop rule matches it.
    Dropped,
}

/// Where entries go.
pub(crate) trait Sink {
    /// Whether it takes a line of `len` bytes now.
    fn has_room_for(&self, len: usize) -> bool;

    /// Takes an entry. Returns whether invalid UTF-8 in it was replaced.
    fn push(&mut self, entry: &Entry<'_>) -> bool;

    /// An entry is not pushed.
    fn skip(&mut self, _entry: &Entry<'_>, _why: Skipped) {}
}

/// Extracts entries from the bytes of one file after the other.
#[derive(Debug)]
pub(crate) struct Extractor<'a> {
    pub(crate) limits: EntryLimits,
    pub(crate) times: &'a mut TimeReader,
    /// The buffer for a text that differs from the bytes of the file.
    pub(crate) scratch: &'a mut Vec<u8>,
    pub(crate) chain: &'a mut Chain,
    pub(crate) redactor: &'a mut Redactor,
    /// The drop rules for this file.
    pub(crate) drops: &'a FileDrops<'a>,
    pub(crate) handed: &'a mut Handed,
}

/// What became of the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// How many of them became entries, or were skipped.
    pub(crate) used: usize,
    /// The complete lines that wait for the line after them. `None` if the sink was full first.
    pub(crate) waiting: Option<Waiting>,
    /// Whether the entries depend on the clock.
    pub(crate) depends_on_clock: bool,
    /// What they leave open for the redaction of the next text.
    pub(crate) redaction: Option<Carried>,
    /// Whether the bytes end with NULs, and more NULs may follow.
    pub(crate) in_zeros: bool,
}

impl Extractor<'_> {
    /// Takes entries out of the bytes.
    pub(crate) fn extract<S: Sink>(
        &mut self,
        read: Unread<'_>,
        redaction: Option<Carried>,
        clock: Clock,
        sink: &mut S,
    ) -> Taken {
        let EntryLimits { max_line, max_age, multiline } = self.limits;
        let oldest = clock.now.saturating_sub(i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX));
        let mut taken = Taken { used: 0, waiting: None, depends_on_clock: false, in_zeros: false, redaction };
        let (mut scan, mut plain) = (Scan::default(), Plain::default());
        if read.position == 0 && read.bytes.starts_with(BYTE_ORDER_MARK) {
            taken.used = BYTE_ORDER_MARK.len();
        }
        let mut next = None;
        loop {
            let rest = read.bytes.get(taken.used..).unwrap_or_default();
            if taken.used >= read.stop {
                return taken;
            }
            if rest.first() == Some(&0) {
                let zeros = hole(rest);
                self.handed.zeros += zeros as u64;
                taken.used += zeros;
                taken.in_zeros = zeros == rest.len();
                continue;
            }
            let Chain { timed: joins, format, report, .. } = *self.chain;
            let ends = Ends { limit: max_line, joins, multiline, at_end: read.at_end, format, report };
            let closed = read.closed.wrapping_sub(taken.used);
            let text = match next_text(rest, ends, closed, next.take(), |line| self.times.read(line)) {
                Ok(text) => text,
                Err(waiting) => {
                    taken.waiting = Some(waiting);
                    return taken;
                }
            };
            let end = taken.used + text.raw.len();
            let is_plain = plain.covers(read.bytes, taken.used, end);
            let said = text.said(self.scratch, is_plain);
            let level = text.level(said);
            let is_changed = said.as_ptr() != text.raw.as_ptr();
            let touched = self.redactor.touches(&mut scan, read.bytes, taken.used, end) || is_changed;
            let (clear, before) = (said.as_ptr(), read.before(taken.used));
            let (said, redaction) =
                self.redactor.redact(Text { bytes: said, before, cut: text.cut, touched }, taken.redaction);
            if !sink.has_room_for(said.len()) {
                return taken;
            }
            taken.redaction = redaction;
            taken.depends_on_clock |= !joins && text.timestamp.is_some_and(Timestamp::is_yearless);
            let reference = self.chain.reference(clock);
            let timestamp = text.timestamp.and_then(|timestamp| self.times.resolve(timestamp, reference));
            let (time, basis) = self.chain.next(timestamp, clock);
            self.chain.took(&text);
            taken.depends_on_clock |= basis.depends_on_clock();
            taken.used += text.consumed;
            next = text.next;
            let format = text.timestamp.map(|timestamp| timestamp.format);
            let is_redacted = said.as_ptr() != clear;
            // Marks of secrets are ASCII.
            let entry = Entry { time, line: said, level, is_ascii: is_plain, basis, format, is_redacted };
            if self.drops.drop(said, level) {
                self.handed.dropped += 1;
                sink.skip(&entry, Skipped::Dropped);
                continue;
            }
            if time < oldest {
                self.handed.old += 1;
                sink.skip(&entry, Skipped::TooOld);
                continue;
            }
            self.handed.entries += 1;
            self.handed.cut += u64::from(text.cut);
            self.handed.disbelieved += u64::from(basis.is_implausible());
            self.handed.replaced += u64::from(sink.push(&entry));
            self.redactor.count();
        }
    }
}

/// The time of the lines before the first line with a timestamp, so that they sort right before it.
pub(crate) fn first_time(bytes: &[u8], max_line: usize, times: &mut TimeReader, now: i64) -> Option<i64> {
    let (mut used, mut lines) = (0, 0);
    while let Some(line) = next_line(bytes.get(used..)?, max_line, false) {
        if let Some(timestamp) = times.read(line.text) {
            let time = times.resolve(timestamp, Reference::Before(now))?;
            return (time <= now).then(|| time.saturating_sub(lines));
        }
        used += line.consumed;
        lines += 1;
    }
    None
}
