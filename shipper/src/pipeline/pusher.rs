//! The pushing half: batches to Loki, acknowledgements to positions.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::positions::Positions;
use crate::admin::SharedStatus;
use crate::batch::Batch;
use crate::metrics::Metrics;
use crate::push::Loki;

/// Pushes batches and keeps the positions.
pub(super) struct Pusher {
    pub(super) loki: Loki,
    pub(super) positions: Positions,
    pub(super) metrics: Metrics,
    pub(super) status: SharedStatus,
}

impl Pusher {
    pub(super) async fn run(&mut self, mut incoming: mpsc::Receiver<Batch>) {
        for (name, record) in self.positions.record() {
            self.status.begins_at(name, record);
        }
        loop {
            let batch = tokio::select! {
                batch = incoming.recv() => batch,
                () = self.positions.due() => {
                    self.positions.save().await;
                    continue;
                }
            };
            let Some(mut batch) = batch else { return };
            if !batch.before.is_empty() {
                tracing::debug!(before = ?batch.before, "positions to be saved before the push");
                for (name, record) in &batch.before {
                    self.status.begins_at(name, record);
                }
                self.positions.write_ahead(std::mem::take(&mut batch.before)).await;
            }
            if !batch.body.is_empty() {
                self.status.pushing(Some(Instant::now().into_std()));
                self.deliver(&batch).await;
                self.status.pushing(None);
            }
            self.status.acknowledged(&batch.name, batch.after.as_ref());
            tracing::debug!(file = %batch.name, entries = batch.entries, after = ?batch.after, "acknowledged");
            match batch.after {
                Some(after) => self.positions.set(&batch.name, after),
                None => self.positions.forget(&batch.name),
            }
            if self.positions.are_overdue() {
                self.positions.save().await;
            }
        }
    }

    async fn deliver(&mut self, batch: &Batch) {
        let (metrics, status) = (self.metrics.clone(), self.status.clone());
        let metadata = self.loki.metadata().clone();
        let mut push = std::pin::pin!(self.loki.push(&batch.body, batch.entries, |failure| {
            metrics.failed(failure.trouble);
            status.trouble(&batch.name, failure);
        }));
        // While Loki does not answer, what it acknowledged before still gets to disk.
        let rejected = loop {
            tokio::select! {
                rejected = &mut push => break rejected,
                () = self.positions.due() => self.positions.save().await,
            }
        };
        self.metrics.metadata(metadata.is_on());
        self.metrics.rejected(&rejected);
        self.status.rejected(&batch.name, &rejected);
        let stored = batch.entries.saturating_sub(usize::try_from(rejected.total()).unwrap_or(usize::MAX));
        self.metrics.pushed(stored, batch.bytes);
        self.status.pushed(stored);
    }
}
