//! Reads the files of a position record once more from their start, to compare them with what Loki shows.
//!
//! It is no restart: it never scans, follows no rotation and moves no position.

use super::now::Now;
use super::rotated::Siblings;
use super::settings::TailSettings;
pub(crate) use super::stream::Until;
use super::stream::{Stream, Surprise, Workshop};
use crate::batch::{Batch, BatchBuffer};
use crate::discover::Discovery;
use crate::drop::Drops;
use crate::metrics::Metrics;
use crate::redaction::Redactor;
use crate::state::Record;

/// Why a replay stops early.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {0} to its end: the file changed meanwhile, or cannot be read; run the command again")]
pub(crate) struct ReplayError(String);

/// The files of a position record, open at their start.
#[derive(Debug)]
pub(crate) struct Replay {
    streams: Vec<Stream>,
    settings: TailSettings,
    metrics: Metrics,
    now: Now,
}

impl Replay {
    /// Opens every file of `record`, rotated files included.
    pub(crate) fn open(
        discovery: &Discovery,
        settings: TailSettings,
        record: &Record,
        until: Until,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let now = Now::read();
        let (listing, _) = discovery.list_settled(&[], &|name| record.contains_key(name))?;
        let mut streams = Vec::new();
        for (name, record) in record {
            let siblings = Siblings::of(name, &listing, &[], discovery);
            let mut stream = Stream::of(name, record.chain.slot, &settings);
            stream.replay(record, until, &siblings, now)?;
            streams.push(stream);
        }
        Ok(Self { streams, settings, metrics, now })
    }

    /// Passes every batch to `each`, in the order of reading. Batches have no structured metadata.
    pub(crate) fn batches(mut self, mut each: impl FnMut(Batch)) -> Result<(), ReplayError> {
        let (settings, metrics) = (&self.settings, &self.metrics);
        let mut chunk = vec![0; settings.chunk_bytes()];
        let mut batch = BatchBuffer::new(settings.batch_bytes);
        batch.metadata_switch().turn_off();
        let mut redactor = Redactor::new(&settings.redaction, settings.max_line, |rule| metrics.redactions(rule));
        let drops = Drops::new(&settings.drop, |rule| metrics.dropped(rule));
        for stream in &mut self.streams {
            loop {
                stream.decide(self.now.instant);
                let mut workshop = Workshop {
                    settings,
                    metrics,
                    chunk: &mut chunk,
                    batch: &mut batch,
                    redactor: &mut redactor,
                    drops: &drops,
                };
                match stream.next_batch(self.now, &mut workshop) {
                    Ok(Some(batch)) => each(batch),
                    Ok(None) => break,
                    Err(Surprise) => return Err(ReplayError(stream.name.to_string())),
                }
            }
            if !stream.is_drained() {
                return Err(ReplayError(stream.name.to_string()));
            }
        }
        Ok(())
    }
}
