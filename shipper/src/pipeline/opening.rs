//! What must be there before anything is shipped: a state directory of one's own, and a log directory that can be read.
//! What is not there yet is waited for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::chain;

use crate::admin::SharedStatus;
use crate::discover::Discovery;
use crate::metrics::Metrics;
use crate::state_home::Home;
use crate::state_lock::LockError;
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
    /// They hold the lock until the last one is on disk.
    pub(super) positions: Positions,
}

/// What is to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) discovery: Discovery,
    pub(super) tail: TailSettings,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) state_fallback_dir: Option<PathBuf>,
    pub(super) metrics: Metrics,
    pub(super) status: SharedStatus,
}

impl Opening {
    /// Opens the files where they were left, once.
    pub(super) async fn attempt(&self) -> Result<Opened, OpenError> {
        let unreadable = |source| OpenError::Logs { dir: self.discovery.dir().to_owned(), source };
        // First, because it is what is waited for most: what comes after it speaks, and is tried once a second.
        self.discovery.list().map_err(unreadable)?;
        let mut home = Home::new(self.state_dir.clone(), self.state_fallback_dir.clone());
        home.lock().map_err(OpenError::State)?;
        let now = Now::read();
        let mut positions = Positions::load(home, self.metrics.clone(), now.clock);
        let (discovery, settings) = (self.discovery.clone(), self.tail.clone());
        let tail =
            Tail::resume(discovery, settings, positions.record(), self.metrics.clone(), now).map_err(unreadable)?;
        positions.extend(tail.record());
        positions.save().await;
        Ok(Opened { tail, positions })
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
}
