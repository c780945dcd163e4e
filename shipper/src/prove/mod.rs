//! Compares the acknowledged lines of the log files with the lines that Loki shows.
//!
//! It compares lines, not entries: a restart or a pause may join lines into other entries, but never changes a line. The
//! times of both sides may differ by a moment. So a line of the time range also matches a line just outside of it.

mod query;
mod range;
mod tally;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

pub(crate) use query::{Query, QueryError};
pub(crate) use range::{MILLISECOND, Range};
pub(crate) use tally::{Difference, Kind, Tally, Totals};

use crate::push::decode::{self, DecodeError};
use crate::state::Record;
use crate::tail::{Replay, ReplayError, TailSettings, Until};
use crate::{discover::Discovery, metrics::Metrics};

/// Entries of any age are read.
const ANY_AGE: std::time::Duration = std::time::Duration::from_hours(100 * 365 * 24);

/// Why the files cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProveError {
    /// The log directory cannot be read.
    #[error("failed to read the log directory {dir}")]
    Logs {
        /// The directory.
        dir: std::path::PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// A file changed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A batch cannot be read.
    #[error("failed to read the lines of a file")]
    Decode(#[from] DecodeError),
    /// Loki does not answer the query.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// The log files of a position record.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    pub(crate) discovery: &'a Discovery,
    pub(crate) settings: &'a TailSettings,
    pub(crate) record: &'a Record,
}

impl Files<'_> {
    /// The lines of each stream of Loki, by its labels.
    pub(crate) fn tallies(&self, range: Range) -> Result<BTreeMap<String, Tally>, ProveError> {
        let mut tallies = BTreeMap::<String, Tally>::new();
        self.lines(Until::Acknowledged, |labels, time, line| {
            let tally = tallies.entry(labels.to_owned()).or_default();
            if range.holds(time) {
                tally.acknowledged(hash(line), time);
            }
        })?;
        // The shipper may have pushed more lines since the positions were saved.
        self.lines(Until::End, |labels, time, line| {
            if range.wide().holds(time) {
                tallies.entry(labels.to_owned()).or_default().written(hash(line));
            }
        })?;
        Ok(tallies)
    }

    /// The line with this hash in one stream.
    pub(crate) fn line(&self, stream: &str, wanted: u64) -> Result<Option<String>, ProveError> {
        let mut text = None;
        self.lines(Until::End, |labels, _, line| {
            if text.is_none() && labels == stream && hash(line) == wanted {
                text = Some(line.to_owned());
            }
        })?;
        Ok(text)
    }

    /// Passes the labels, the time and the text of every line to `each`.
    fn lines(&self, until: Until, mut each: impl FnMut(&str, i64, &str)) -> Result<(), ProveError> {
        let settings = TailSettings { max_age: ANY_AGE, ..self.settings.clone() };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let replay = Replay::open(self.discovery, settings, self.record, until, metrics)
            .map_err(|source| ProveError::Logs { dir: self.discovery.dir().to_owned(), source })?;
        let mut failed = None;
        replay.batches(|batch| {
            if batch.body.is_empty() {
                return;
            }
            match decode::decode(&batch.body) {
                Ok(streams) => {
                    for stream in &streams {
                        for (time, entry) in &stream.entries {
                            entry.split('\n').for_each(|line| each(&stream.labels, *time, line));
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Adds the lines that Loki shows to `tally`. Returns the number of shown entries in the range.
pub(crate) async fn add_shown(
    tally: &mut Tally,
    query: &mut Query,
    selector: &str,
    range: Range,
) -> Result<u64, ProveError> {
    let mut entries = 0;
    query
        .entries(selector, range.wide(), |time, entry| {
            let inside = range.holds(time);
            entries += u64::from(inside);
            entry.split('\n').for_each(|line| tally.shown(hash(line), time, inside));
        })
        .await?;
    Ok(entries)
}

/// Two equal lines have equal hashes. The hash is the same within one process.
fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}
