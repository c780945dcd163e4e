//! Bytes of the front generation to entries of a batch.

use findings::Code;

use super::super::generation::Changed;
use super::{MAX_SPAN, RETRY, Stream, Surprise, Workshop};
use crate::entries::Clock;
use crate::extract::{Extractor, first_time};
use crate::metrics::Handed;
use crate::tail::Now;

impl Stream {
    /// Appends entries until the batch is full or no lines are left. Returns their clock if the entries depend on it.
    pub(super) fn fill(&mut self, now: Now, workshop: &mut Workshop<'_>) -> Result<Option<Clock>, Surprise> {
        let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
        let replayed = front.clocked;
        let stop = replayed.map_or(u64::MAX, |clocked| clocked.until);
        let span = (MAX_SPAN * workshop.settings.batch_bytes) as u64;
        let start = front.read;
        let mut clock = replayed.map(|clocked| Clock { now: clocked.now, untimed: clocked.untimed });
        let mut depends_on_clock = false;
        let mut handed = Handed::default();
        let drops = workshop.drops.of(&self.name);
        loop {
            let Some(front) = self.queue.front_mut() else { return Err(Surprise) };
            let read = match front.read(workshop.chunk) {
                Ok(Ok(read)) => read,
                // The entries so far are still good. The next call sees the change again.
                Ok(Err(Changed)) | Err(_) if front.read > start => break,
                Ok(Err(Changed)) => return Err(Surprise),
                Err(error) => {
                    self.fail(&error.to_string(), now.instant + RETRY);
                    return Err(Surprise);
                }
            };
            if self.failed.take().is_some() {
                let code = Code::LogsUnreadable.as_str();
                tracing::info!(code, file = %self.name, "the log file can be read again");
            }
            let clock = *clock.get_or_insert_with(|| {
                let untimed = !self.chain.timed;
                let first =
                    untimed.then(|| first_time(read.bytes, workshop.settings.max_line, &mut self.times, now.clock));
                Clock { now: now.clock, untimed: first.flatten().unwrap_or(now.clock) }
            });
            let redaction = front.redaction;
            let mut extractor = Extractor {
                limits: workshop.settings.entry_limits(),
                times: &mut self.times,
                scratch: &mut self.scratch,
                chain: &mut self.chain,
                redactor: workshop.redactor,
                drops: &drops,
                handed: &mut handed,
            };
            let taken = extractor.extract(read, redaction, clock, workshop.batch);
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
        if handed.old > 0 && !std::mem::replace(&mut self.old_entries_logged, true) {
            let max_age = workshop.settings.max_age;
            let code = Code::LinesTooOld.as_str();
            tracing::warn!(code, file = %self.name, ?max_age, "skipping entries that Loki would reject for their age");
        }
        workshop.metrics.handed(&handed);
        Ok(clock.filter(|_| depends_on_clock && replayed.is_none()))
    }
}
