//! The pushing half: pushes batches to Loki, and turns acknowledgements into positions.
//!
//! Loki may refuse one stream and accept others. Such a stream is set aside: its batches wait here in order, and are retried.
//! Meanwhile the reader hands out no more of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use findings::{Code, Finding};
use runtime::tls::HttpConnector;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::aside::Aside;
use super::positions::Positions;
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::push::rejections::Rejections;
use crate::push::{Dial, Loki, Outcome, Parcel, wrong_clock};
use crate::state::{Record, StreamRecord};
use crate::status::{Condition, SharedStatus};
use crate::tally::Tally;

/// The limit of compressed bytes that are set aside. Above it, all streams wait.
const MAX_SET_ASIDE: usize = 4 << 20;

/// Pushes batches and keeps the positions.
pub(super) struct Pusher<D = HttpConnector> {
    loki: Loki<D>,
    positions: Positions,
    /// The streams that are set aside.
    refused: BTreeMap<Arc<str>, Refused>,
    /// The names of these streams, for the reader.
    aside: Aside,
    metrics: Metrics,
    status: SharedStatus,
    tally: Tally,
}

/// A stream that Loki refuses.
#[derive(Debug)]
struct Refused {
    /// The refused batch.
    batch: Batch,
    parcel: Parcel,
    /// When to retry.
    retry_at: Instant,
    /// What comes after the batch.
    waiting: VecDeque<Waiting>,
}

/// What waits behind a refused batch.
#[derive(Debug)]
enum Waiting {
    Batch(Batch),
    /// A record that must be on disk before the next batch. It came with a batch of another stream.
    Record(StreamRecord),
}

impl<D: Dial> Pusher<D> {
    /// Pushes with `loki`, and saves acknowledgements in `positions`.
    pub(super) fn new(
        loki: Loki<D>,
        positions: Positions,
        aside: Aside,
        metrics: Metrics,
        status: SharedStatus,
    ) -> Self {
        Self { loki, positions, refused: BTreeMap::new(), aside, metrics, status, tally: Tally::default() }
    }

    /// Counts in `tally` what comes of the batches.
    pub(super) fn with_tally(self, tally: Tally) -> Self {
        Self { tally, ..self }
    }

    /// Saves the positions.
    pub(super) async fn save_positions(&mut self) {
        self.positions.save().await;
    }

    /// Pushes until the reader hands over no more, and no stream is set aside.
    pub(super) async fn run(&mut self, mut incoming: mpsc::Receiver<Batch>) {
        for (name, record) in self.positions.record() {
            self.status.begins_at(name, record);
        }
        let mut open = true;
        while open || !self.refused.is_empty() {
            let (room, retry_at) = (self.has_room(), self.refused.values().map(|refused| refused.retry_at).min());
            tokio::select! {
                batch = incoming.recv(), if open && room => match batch {
                    Some(batch) => self.take(batch).await,
                    None => open = false,
                },
                () = self.positions.due() => self.positions.save().await,
                () = async { if let Some(at) = retry_at { tokio::time::sleep_until(at).await } }, if retry_at.is_some() => {
                    self.retry().await;
                }
            }
            if self.positions.are_overdue() {
                self.positions.save().await;
            }
        }
    }

    fn has_room(&self) -> bool {
        let waiting = |refused: &Refused| {
            let bodies = refused.waiting.iter().map(|waiting| match waiting {
                Waiting::Batch(batch) => batch.body.len(),
                Waiting::Record(_) => 0,
            });
            refused.batch.body.len() + bodies.sum::<usize>()
        };
        self.refused.values().map(waiting).sum::<usize>() < MAX_SET_ASIDE
    }

    /// Pushes a batch, or queues it behind a refused batch of its stream.
    async fn take(&mut self, mut batch: Batch) {
        // A record covers everything that was handed out of its stream, refused batches included.
        for (name, record) in std::mem::take(&mut batch.before) {
            match self.refused.get_mut(name.as_str()) {
                Some(refused) => refused.waiting.push_back(Waiting::Record(record)),
                None => drop(batch.before.insert(name, record)),
            }
        }
        if !batch.before.is_empty() {
            self.write_ahead(std::mem::take(&mut batch.before)).await;
        }
        if let Some(refused) = self.refused.get_mut(&batch.name) {
            refused.waiting.push_back(Waiting::Batch(batch));
        } else {
            let parcel = Parcel::new(batch.body.clone(), batch.entries);
            self.ship(batch, parcel, VecDeque::new(), false).await;
        }
    }

    /// Retries the refused batch that is due first.
    async fn retry(&mut self) {
        let due = self.refused.iter().min_by_key(|(_, refused)| refused.retry_at).map(|(name, _)| name.clone());
        let Some(refused) = due.and_then(|name| self.refused.remove(&name)) else { return };
        self.ship(refused.batch, refused.parcel, refused.waiting, true).await;
    }

    /// Pushes a batch and what waits behind it, until Loki has stored everything or refuses a batch.
    async fn ship(&mut self, batch: Batch, parcel: Parcel, mut waiting: VecDeque<Waiting>, mut was_refused: bool) {
        let mut next = Some((batch, parcel));
        while let Some((batch, mut parcel)) = next.take() {
            match self.deliver(&batch, &mut parcel, was_refused).await {
                Outcome::Stored(rejected) => self.acknowledge(&batch, &rejected),
                Outcome::SetAside(wait) => {
                    let (name, retry_at) = (batch.name.clone(), Instant::now() + wait);
                    self.refused.insert(name, Refused { batch, parcel, retry_at, waiting });
                    break;
                }
            }
            if std::mem::take(&mut was_refused) {
                tracing::info!(file = %batch.name, "Loki takes this stream again");
            }
            next = self.next_waiting(&batch.name, &mut waiting).await;
        }
        self.publish_refused();
    }

    /// The next waiting batch, after the records before it are on disk.
    async fn next_waiting(&mut self, name: &Arc<str>, waiting: &mut VecDeque<Waiting>) -> Option<(Batch, Parcel)> {
        loop {
            match waiting.pop_front()? {
                Waiting::Batch(batch) => {
                    let parcel = Parcel::new(batch.body.clone(), batch.entries);
                    return Some((batch, parcel));
                }
                Waiting::Record(record) => self.write_ahead(Record::from([(name.to_string(), record)])).await,
            }
        }
    }

    /// Tells the reader, the metrics and the status which streams are set aside.
    fn publish_refused(&self) {
        self.aside.set(self.refused.keys().cloned());
        self.metrics.set_aside(self.refused.len());
        self.status.refuses(!self.refused.is_empty());
    }

    /// Writes records to disk before a push.
    async fn write_ahead(&mut self, before: Record) {
        tracing::debug!(?before, "positions to be saved before the push");
        for (name, record) in &before {
            self.status.begins_at(name, record);
        }
        self.positions.write_ahead(before).await;
    }

    fn acknowledge(&mut self, batch: &Batch, rejected: &Rejections) {
        if !batch.body.is_empty() {
            self.metrics.rejected(rejected);
            self.status.rejected(&batch.name, rejected);
            let stored = batch.entries.saturating_sub(usize::try_from(rejected.total()).unwrap_or(usize::MAX));
            self.metrics.pushed(stored, batch.bytes);
            self.status.pushed(stored);
        }
        self.tally.acknowledged(batch, rejected);
        self.status.acknowledged(&batch.name, batch.after.as_ref());
        tracing::debug!(file = %batch.name, entries = batch.entries, after = ?batch.after, "acknowledged");
        match &batch.after {
            Some(after) => self.positions.set(&batch.name, after.clone()),
            None => self.positions.forget(&batch.name),
        }
    }

    async fn deliver(&mut self, batch: &Batch, parcel: &mut Parcel, was_refused: bool) -> Outcome {
        if batch.body.is_empty() {
            return Outcome::Stored(Rejections::default());
        }
        let (metrics, status) = (self.metrics.clone(), self.status.clone());
        let metadata = self.loki.metadata().clone();
        let last = std::sync::Mutex::new(None);
        let failed = |failure: &crate::push::Failure<'_>| {
            metrics.failed(failure.trouble);
            status.trouble(&batch.name, failure);
            report_clock(&status, failure.clock_skew);
            let words = (failure.trouble.reason(), failure.answer.to_owned(), failure.finding.clone());
            *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(words);
        };
        self.status.pushing(Some(Instant::now().into_std()));
        let outcome = {
            let mut push = std::pin::pin!(self.loki.attempt(parcel, &failed));
            // Earlier acknowledgements are saved while Loki does not answer.
            loop {
                tokio::select! {
                    outcome = &mut push => break outcome,
                    () = self.positions.due() => self.positions.save().await,
                }
            }
        };
        self.status.pushing(None);
        report_clock(&self.status, self.loki.clock_skew());
        self.metrics.metadata(metadata.is_on());
        if let (Outcome::SetAside(_), false, Some((reason, answer, finding))) =
            (&outcome, was_refused, last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
        {
            let (file, code) = (&*batch.name, finding.code.as_str());
            let (problem, fix) = (finding.problem, finding.fix);
            tracing::warn!(
                code,
                file,
                reason,
                answer,
                problem,
                fix,
                "Loki refuses only this stream: it is retried, and others go on"
            );
        }
        outcome
    }
}

/// Reports once that the clock differs from the server's, and once that it does not any more.
fn report_clock(status: &SharedStatus, ahead_seconds: Option<i64>) {
    let Some(ahead_seconds) = ahead_seconds else { return };
    let finding = wrong_clock(ahead_seconds);
    match (status.condition(Condition::Clock, finding.clone()), finding) {
        (false, Some(Finding { code, problem, fix })) => {
            tracing::warn!(code = code.as_str(), problem, fix, "the clock differs from the clock of the server");
        }
        (true, None) => tracing::info!(code = Code::ClockSkew.as_str(), "the clock agrees with the server's again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_once_that_the_clock_is_wrong_and_once_that_it_is_right_again() {
        let (log, status) = (testing::Log::default(), SharedStatus::default());
        let _guard = log.listen();
        for skew in [None, Some(10), Some(100), Some(101), None] {
            report_clock(&status, skew);
        }
        let text = log.take();
        assert_eq!((text.matches("the clock differs").count(), text.matches("the clock agrees").count()), (1, 0));
        assert_eq!(status.findings(std::time::Instant::now())[0].code, Code::ClockSkew);
        report_clock(&status, Some(-1));
        report_clock(&status, Some(0));
        assert_eq!(log.take().matches("the clock agrees").count(), 1);
        assert!(status.findings(std::time::Instant::now()).is_empty());
    }
}
