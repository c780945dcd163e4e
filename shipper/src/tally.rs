//! What came of shipping, for the person who waits for the end of `run --once`: how far it is, and what Loki stored and rejected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::Batch;
use crate::push::rejections::Rejections;

/// The counts, shared between the tasks that ship and the one that shows. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

/// What is counted. Rejected entries are no stored ones.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The bytes of the files that there are to ship.
    pub total: u64,
    /// The bytes of the files that are done with: their entries are stored, rejected or skipped.
    pub done: u64,
    /// The stored entries of each file.
    pub stored: BTreeMap<Arc<str>, u64>,
    /// The rejected entries, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The times of the first and of the last pushed entry, in nanoseconds since 1970 UTC.
    pub times: Option<(i64, i64)>,
    /// Whether everything was handed over and answered.
    pub is_complete: bool,
}

impl Counts {
    /// All rejected entries.
    pub fn rejected(&self) -> u64 {
        self.rejected.values().sum()
    }
}

impl Tally {
    /// What is counted so far.
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far it is: bytes done, bytes in all, and rejected entries.
    pub fn progress(&self) -> (u64, u64, u64) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.done, counts.total, counts.rejected())
    }

    /// There are so many bytes to ship.
    pub(crate) fn begin(&self, total: u64) {
        self.change(|counts| counts.total = total);
    }

    /// Everything was handed over and answered.
    pub(crate) fn complete(&self) {
        self.change(|counts| counts.is_complete = true);
    }

    /// Loki stored a batch, except for the rejected entries.
    pub(crate) fn acknowledged(&self, batch: &Batch, rejected: &Rejections) {
        self.change(|counts| {
            counts.done += batch.read;
            for (reason, entries) in rejected.iter() {
                *counts.rejected.entry(reason.word()).or_default() += entries;
            }
            let stored = (batch.entries as u64).saturating_sub(rejected.total());
            if stored > 0 {
                *counts.stored.entry(batch.name.clone()).or_default() += stored;
            }
            if let Some((first, last)) = batch.times {
                let times = counts.times.get_or_insert((first, last));
                *times = (times.0.min(first), times.1.max(last));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
