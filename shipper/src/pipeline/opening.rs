//! What must be there before anything is shipped: a state directory of one's own, and a log directory that can be read.
//! What is not there yet is waited for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::chain;

use crate::admin::SharedStatus;
use crate::discover::Discovery;
use crate::metrics::Metrics;
use crate::state_lock::{LockError, StateLock};
use crate::tail::{Now, Tail, TailSettings};

use super::positions::Positions;

/// How soon it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What lasts is told again this often.
const REMINDER: Duration = Duration::from_mins(1);

/// Why shipping cannot begin yet.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another shipper has the state directory.
    #[error(transparent)]
    State(LockError),
    /// The log directory is not there, or cannot be read.
    #[error("failed to read the log directory {dir}; is it the directory of the log files, and may this user read it?")]
    Logs {
        /// The directory.
        dir: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// Everything shipping begins with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) tail: Tail,
    pub(super) positions: Positions,
    /// Held until the last position is on disk.
    pub(super) _lock: Option<StateLock>,
}

/// What is to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) discovery: Discovery,
    pub(super) tail: TailSettings,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) metrics: Metrics,
    pub(super) status: SharedStatus,
}

impl Opening {
    /// Opens the files where they were left, once.
    pub(super) async fn attempt(&self) -> Result<Opened, OpenError> {
        let unreadable = |source| OpenError::Logs { dir: self.discovery.dir().to_owned(), source };
        // First, because it is what is waited for most: what comes after it speaks, and is tried once a second.
        self.discovery.list().map_err(unreadable)?;
        let lock = self.lock()?;
        let mut positions = Positions::load(self.state_dir.clone(), self.metrics.clone());
        let (discovery, settings) = (self.discovery.clone(), self.tail.clone());
        let tail = Tail::resume(discovery, settings, positions.record(), self.metrics.clone(), Now::read())
            .map_err(unreadable)?;
        positions.extend(tail.record());
        positions.save().await;
        Ok(Opened { tail, positions, _lock: lock })
    }

    /// Tries again until it succeeds, and says every minute why it does not.
    pub(super) async fn wait(&self, mut error: OpenError) -> Opened {
        let mut told: Option<Instant> = None;
        loop {
            self.status.waits_for(Some(chain(&error)));
            if told.is_none_or(|told| told.elapsed() >= REMINDER) {
                told = Some(Instant::now());
                tracing::error!(error = chain(&error), "nothing is shipped yet, trying again");
            }
            tokio::time::sleep(RETRY).await;
            match self.attempt().await {
                Ok(opened) => {
                    self.status.waits_for(None);
                    return opened;
                }
                Err(next) => error = next,
            }
        }
    }

    /// A lock that cannot be is done without: positions that cannot be written need none.
    fn lock(&self) -> Result<Option<StateLock>, OpenError> {
        let Some(dir) = &self.state_dir else { return Ok(None) };
        if let Err(error) = std::fs::create_dir_all(dir) {
            tracing::error!(dir = %dir.display(), %error, "positions cannot be kept");
        }
        match StateLock::take(dir) {
            Ok(lock) => Ok(Some(lock)),
            Err(taken @ LockError::Taken(_)) => Err(OpenError::State(taken)),
            Err(error) => {
                tracing::warn!(error = chain(&error), "going on without a lock on the state directory");
                Ok(None)
            }
        }
    }
}
