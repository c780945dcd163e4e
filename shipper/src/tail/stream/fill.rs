//! Bytes of the front generation to entries of a batch.

use super::super::generation::{Changed, Unread};
use super::{MAX_SPAN, RETRY, Stream, Surprise, Workshop};
use crate::batch::BatchBuffer;
use crate::entries::{Chain, Clock};
use crate::formats::{Reference, TimeReader, Timestamp};
use crate::lines::{hole, next_line};
use crate::metrics::Handed;
use crate::redaction::{BEFORE, Carried, Redactor, Scan, Text};
use crate::tail::{Now, TailSettings};
use crate::texts::{Ends, Waiting, next_text};

/// UTF-8's byte order mark, which some programs write first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Stream {
    /// Appends entries until the batch is full or the lines are used up. Returns the clock they saw, if another one would
    /// have made other entries of them.
    pub(super) fn fill(&mut self, now: Now, workshop: &mut Workshop<'_>) -> Result<Option<Clock>, Surprise> {
        let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
        let replayed = front.clocked;
        let stop = replayed.map_or(u64::MAX, |clocked| clocked.until);
        let span = (MAX_SPAN * workshop.settings.batch_bytes) as u64;
        let start = front.read;
        let mut clock = replayed.map(|clocked| Clock { now: clocked.now, untimed: clocked.untimed });
        let mut depends_on_clock = false;
        let mut handed = Handed::default();
        loop {
            let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
            let read = match front.read(workshop.chunk) {
                Ok(Ok(read)) => read,
                // What was taken before the surprise is still good; the next call meets it again.
                Ok(Err(Changed)) | Err(_) if front.read > start => break,
                Ok(Err(Changed)) => return Err(Surprise),
                Err(error) => {
                    self.fail(&error.to_string(), now.instant + RETRY);
                    return Err(Surprise);
                }
            };
            self.failed = None;
            let clock = *clock.get_or_insert_with(|| {
                let untimed = !self.chain.timed;
                let first =
                    untimed.then(|| first_time(read.bytes, workshop.settings.max_line, &mut self.times, now.clock));
                Clock { now: now.clock, untimed: first.flatten().unwrap_or(now.clock) }
            });
            let redaction = front.redaction;
            let sink = Sink { batch: workshop.batch, redactor: workshop.redactor, handed: &mut handed };
            let taken = self.take(read, redaction, clock, workshop.settings, sink);
            depends_on_clock |= taken.depends_on_clock;
            let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
            front.redaction = taken.redaction;
            front.advance(workshop.chunk, taken.used);
            if taken.in_zeros {
                handed.zeros += front.skip_hole();
            }
            if let (0, Some(waiting)) = (taken.used, taken.waiting) {
                front.stall(waiting);
            }
            let full = taken.waiting.is_none();
            if taken.used == 0 || full || front.read - start >= span || front.read >= stop || front.rest() == 0 {
                break;
            }
        }
        workshop.metrics.handed(&handed);
        Ok(clock.filter(|_| depends_on_clock && replayed.is_none()))
    }

    /// Takes entries out of the bytes.
    fn take(
        &mut self,
        read: Unread<'_>,
        redaction: Option<Carried>,
        clock: Clock,
        settings: &TailSettings,
        sink: Sink<'_>,
    ) -> Taken {
        let Sink { batch, redactor, handed } = sink;
        let TailSettings { max_line, max_age, multiline, .. } = *settings;
        let oldest = clock.now.saturating_sub(i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX));
        let mut taken = Taken { used: 0, waiting: None, depends_on_clock: false, in_zeros: false, redaction };
        let mut scan = Scan::default();
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
                handed.zeros += zeros as u64;
                taken.used += zeros;
                taken.in_zeros = zeros == rest.len();
                continue;
            }
            let Chain { timed: joins, format, report, .. } = self.chain;
            let ends = Ends { limit: max_line, joins, multiline, at_end: read.at_end, format, report };
            let closed = read.closed.wrapping_sub(taken.used);
            let text = match next_text(rest, ends, closed, next.take(), |line| self.times.read(line)) {
                Ok(text) => text,
                Err(waiting) => {
                    taken.waiting = Some(waiting);
                    return taken;
                }
            };
            let said = text.said(&mut self.scratch);
            let level = text.level(said);
            let end = taken.used + text.raw.len();
            let is_changed = said.as_ptr() != text.raw.as_ptr();
            let touched = redactor.touches(&mut scan, read.bytes, taken.used, end) || is_changed;
            let before = before(&read, taken.used);
            let (said, redaction) =
                redactor.redact(Text { bytes: said, before, cut: text.cut, touched }, taken.redaction);
            if !batch.has_room_for(said.len()) {
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
            if time < oldest {
                handed.old += 1;
                if !std::mem::replace(&mut self.old_entries_logged, true) {
                    tracing::warn!(file = %self.name, ?max_age, "skipping entries that Loki would reject for their age");
                }
                continue;
            }
            handed.entries += 1;
            handed.cut += u64::from(text.cut);
            handed.disbelieved += u64::from(basis.is_implausible());
            handed.replaced += u64::from(batch.push(time, said, level));
            redactor.count();
        }
    }
}

/// Where entries go.
struct Sink<'a> {
    batch: &'a mut BatchBuffer,
    redactor: &'a mut Redactor,
    handed: &'a mut Handed,
}

/// The bytes that stand before those after the first `used` ones, as many as the redaction looks at.
fn before<'a>(read: &Unread<'a>, used: usize) -> &'a [u8] {
    let end = read.lead + used;
    read.around.get(end.saturating_sub(BEFORE)..end).unwrap_or_default()
}

/// What became of the bytes.
struct Taken {
    /// How many of them are handed out.
    used: usize,
    /// The complete lines after those that wait for what comes after them. `None` where the batch was full first.
    waiting: Option<Waiting>,
    depends_on_clock: bool,
    /// What they leave open for the redaction of what comes after them.
    redaction: Option<Carried>,
    /// Whether all bytes up to the last one of those that were read are NULs, and more may follow.
    in_zeros: bool,
}

/// The time for lines before the first one with a timestamp, so that they sort right before it.
fn first_time(bytes: &[u8], max_line: usize, times: &mut TimeReader, now: i64) -> Option<i64> {
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
