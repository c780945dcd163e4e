//! Ships complete files: those of a directory, or of a support package. Nothing is followed, and no positions are kept.
//!
//! The times of the entries depend on nothing but the files, so Loki stores a second run of the same files only once. The files of
//! one log file are pushed in order. An archive may hold them in any order: it is read again for each file that stands behind a
//! younger one, and nothing is unpacked to disk.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::aside::Aside;
use super::positions::Positions;
use super::pusher::Pusher;
use super::{after_shutdown, pool};
use crate::batch::{Batch, BatchBuffer};
use crate::drop::Drops;
use crate::input::{OpenFile, Series, Source, SourceError, Step, StreamPlan, Survey, Tools};
use crate::labels::{self, Labels};
use crate::metrics::{Handed, Metrics};
use crate::push::Loki;
use crate::redaction::Redactor;
use crate::settings::Settings;
use crate::state::Record;
use crate::state::home::Home;
use crate::status::SharedStatus;
use crate::tail::{Now, TailSettings};
use crate::tally::Tally;

/// At most this many log files are shipped at a time: each has a stream of its own in Loki, which limits their number.
const MAX_STREAMS: usize = 256;
/// The label that tells the nodes of a package apart.
const NODE: &str = "node";

/// Complete files that are read once already, to say what there is.
#[derive(Debug)]
pub(crate) struct Complete {
    source: Source,
    survey: Survey,
    metrics: Metrics,
    tally: Tally,
}

impl Complete {
    /// Whether the log directory is a support package.
    pub(crate) fn is_package(settings: &Settings) -> bool {
        Source::new(settings.discovery.clone()).is_package()
    }

    /// Reads the files, and pushes nothing.
    pub(crate) async fn survey(settings: &Settings) -> Result<Self, CompleteError> {
        let (source, zone) = (Source::new(settings.discovery.clone()), settings.tail.zone.clone());
        let now = Now::read().clock;
        let surveying =
            tokio::task::spawn_blocking(move || Survey::of(&source, &zone, now).map(|survey| (source, survey)));
        let (source, survey) = joined(surveying.await)?;
        if survey.streams.len() > MAX_STREAMS {
            return Err(CompleteError::TooMany(survey.streams.len()));
        }
        Ok(Self { source, survey, metrics: Metrics::default(), tally: Tally::default() })
    }

    /// The oldest and the newest timestamp.
    pub(crate) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let time = |nanos: i64| Timestamp::from_nanosecond(i128::from(nanos)).ok();
        let (oldest, newest) = self.survey.times?;
        time(oldest).zip(time(newest))
    }

    /// Whether the files are in folders, which become the label `node`.
    pub(crate) fn has_nodes(&self) -> bool {
        self.survey.streams.iter().any(|stream| stream.node.is_some())
    }

    /// What is left out, by reason.
    pub(crate) fn left_out(&self) -> Vec<(&'static str, usize)> {
        self.survey.left_out.iter().map(|(what, count)| (*what, *count)).collect()
    }

    /// What comes of shipping.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Ships the files until all of them are stored, or the drain timeout is over.
    pub(crate) async fn run(self, settings: Settings, shutdown: CancellationToken) -> Result<(), CompleteError> {
        let Self { source, survey, metrics, tally } = self;
        let Settings { tail, push, drain_timeout, .. } = settings;
        let now = Now::read();
        tally.begin(survey.bytes);
        let status = SharedStatus::default();
        let (batches, incoming) = mpsc::channel(pool::WAITING_BATCHES);
        let buffer = BatchBuffer::new(tail.batch_bytes);
        let loki = Loki::new(push, buffer.metadata_switch());
        let positions = Positions::load(Home::new(None, None), metrics.clone(), status.clone(), now.clock);
        let mut pusher =
            Pusher::new(loki, positions, Aside::default(), metrics.clone(), status).with_tally(tally.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = Reader {
                redactor: Redactor::new(&tail.redaction, tail.max_line, |rule| metrics.redactions(rule)),
                drops: Drops::new(&tail.drop, |rule| metrics.dropped(rule)),
                settings: tail,
                buffer,
                batches,
                now: now.clock,
                handed: Handed::default(),
            };
            let read = reader.read(&source, survey.streams);
            metrics.handed(&reader.handed);
            read
        });
        tokio::select! {
            (read, ()) = async { tokio::join!(reading, pusher.run(incoming)) } => {
                if joined(read)? {
                    tally.complete();
                }
            }
            () = after_shutdown(&shutdown, drain_timeout) => {
                tracing::warn!("the drain timeout is over; the rest is not shipped");
            }
        }
        Ok(())
    }
}

/// Why complete files cannot be shipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompleteError {
    /// They cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Each log file becomes a stream.
    #[error("failed to ship {0} log files at once: expected at most 256; choose fewer with --include or --exclude")]
    TooMany(usize),
}

/// The result of a thread. A panic goes on.
fn joined<T, E>(result: Result<Result<T, E>, tokio::task::JoinError>) -> Result<T, E> {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Reads files into batches.
struct Reader {
    settings: TailSettings,
    redactor: Redactor,
    drops: Drops,
    buffer: BatchBuffer,
    batches: mpsc::Sender<Batch>,
    /// The wall clock, in nanoseconds since 1970 UTC.
    now: i64,
    handed: Handed,
}

/// A log file that is being read.
struct Stream {
    plan: StreamPlan,
    name: Arc<str>,
    labels: String,
    series: Series,
}

impl Stream {
    fn new(plan: StreamPlan, settings: &TailSettings) -> Self {
        let name = match &plan.node {
            Some(node) => format!("{node}/{}", plan.live),
            None => plan.live.clone(),
        };
        let labels = with_node(&settings.labels, plan.node.as_deref()).stream(labels::stem(&plan.live));
        Self { name: name.into(), labels, series: Series::new(settings.zone.clone()), plan }
    }
}

/// A label `node` that the user gave stays.
fn with_node(labels: &Labels, node: Option<&str>) -> Labels {
    node.map_or_else(|| labels.clone(), |node| labels.with(NODE, node))
}

impl Reader {
    /// Reads every file. Returns whether nothing was left.
    fn read(&mut self, source: &Source, plans: Vec<StreamPlan>) -> Result<bool, SourceError> {
        let mut streams: Vec<_> = plans.into_iter().map(|plan| Stream::new(plan, &self.settings)).collect();
        let mut is_complete = true;
        loop {
            let mut left = streams.iter().map(|stream| stream.plan.files.len()).sum::<usize>();
            if left == 0 || self.batches.is_closed() {
                return Ok(is_complete && left == 0);
            }
            let before = left;
            let at = std::cell::Cell::new(0);
            let cell = std::cell::RefCell::new(&mut streams);
            let next = |path: &str| {
                cell.borrow().iter().position(|stream| stream.plan.files.front().is_some_and(|next| next == path))
            };
            source.visit(
                &mut |member| next(&member.path()).map(|found| at.set(found)).is_some(),
                &mut |member, bytes| {
                    let mut streams = cell.borrow_mut();
                    let Some(stream) = streams.get_mut(at.get()) else { return Ok(()) };
                    stream.plan.files.pop_front();
                    left -= 1;
                    let read = self.file(stream, bytes, member.modified);
                    is_complete &= read.is_ok();
                    read
                },
            )?;
            if left == before {
                // The files changed since the survey.
                return Ok(false);
            }
        }
    }

    fn file(
        &mut self,
        stream: &mut Stream,
        bytes: &mut dyn std::io::Read,
        modified: Option<i64>,
    ) -> std::io::Result<()> {
        let mut file = OpenFile::new(bytes, self.settings.chunk_bytes(), self.now, modified);
        let drops = self.drops.of(&stream.plan.live);
        let mut sealed = 0;
        self.buffer.start(&stream.labels, &stream.plan.live);
        loop {
            let tools = Tools { redactor: &mut self.redactor, drops: &drops, handed: &mut self.handed };
            let step = file.step(&mut stream.series, self.settings.entry_limits(), tools, &mut self.buffer)?;
            if step == Step::More {
                continue;
            }
            let (times, entries) = (self.buffer.times(), self.buffer.entries());
            let (body, bytes) = self.buffer.seal(&stream.labels);
            let read = file.position() - std::mem::replace(&mut sealed, file.position());
            let batch = Batch {
                body,
                entries,
                bytes,
                times,
                read,
                ..Batch::without_entries(stream.name.clone(), Record::new(), None)
            };
            if self.batches.blocking_send(batch).is_err() {
                return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
            }
            if step == Step::Ended {
                return Ok(());
            }
            self.buffer.start(&stream.labels, &stream.plan.live);
        }
    }
}
