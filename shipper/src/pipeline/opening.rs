//! Opens what shipping needs: a state directory that no other shipper uses, and a readable log directory.
//!
//! Waits until both are available.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::findings::Finding;
use runtime::chain;

use super::positions::Positions;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::state::LockError;
use crate::state::home::Home;
use crate::status::{Condition, SharedStatus, findings};
use crate::tail::{Now, Tail};

/// How soon opening is retried.
const RETRY: Duration = Duration::from_secs(1);
/// An error that lasts is logged again after this time.
const REMINDER: Duration = Duration::from_mins(1);

/// Why shipping cannot begin yet.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another shipper uses the state directory.
    #[error(transparent)]
    State(LockError),
    /// The log directory does not exist, or cannot be read.
    #[error("failed to read the log directory {dir}; is it the directory of the log files, and may this user read it?")]
    Logs {
        /// The directory.
        dir: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
}

impl OpenError {
    /// What is wrong, and how to fix it.
    fn finding(&self) -> Finding {
        match self {
            Self::State(error @ LockError::Taken(_)) => findings::state_in_use(&chain(error)),
            Self::State(error) => findings::state_not_writable(&chain(error), None),
            Self::Logs { dir, source } => findings::unreadable_directory(dir, &chain(source)),
        }
    }
}

/// What shipping begins with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) tail: Tail,
    /// The positions hold the lock until they are saved a last time.
    pub(super) positions: Positions,
}

/// Opens the files at their positions.
pub(super) async fn open(settings: &Settings, metrics: &Metrics, status: &SharedStatus) -> Result<Opened, OpenError> {
    let discovery = &settings.discovery;
    let unreadable = |source| OpenError::Logs { dir: discovery.dir().to_owned(), source };
    // Check this first: it fails most often, and later steps log on every retry.
    discovery.list().map_err(unreadable)?;
    let mut home = Home::new(settings.state_dir.clone(), settings.state_fallback_dir.clone());
    home.lock().map_err(OpenError::State)?;
    let now = Now::read();
    let mut positions = Positions::load(home, metrics.clone(), status.clone(), now.clock);
    let tail = Tail::resume(discovery.clone(), settings.tail.clone(), positions.record(), metrics.clone(), now)
        .map_err(unreadable)?;
    positions.extend(tail.record());
    positions.save().await;
    Ok(Opened { tail, positions })
}

/// Retries until opening succeeds, and logs every minute why it fails.
pub(super) async fn wait(
    mut error: OpenError,
    settings: &Settings,
    metrics: &Metrics,
    status: &SharedStatus,
) -> Opened {
    let mut logged: Option<Instant> = None;
    loop {
        let finding = error.finding();
        status.waits_for(Some(chain(&error)));
        status.condition(Condition::Start, Some(finding.clone()));
        if logged.is_none_or(|logged| logged.elapsed() >= REMINDER) {
            logged = Some(Instant::now());
            let (code, fix) = (finding.code.as_str(), finding.fix);
            tracing::error!(code, error = chain(&error), fix, "nothing is shipped yet, retrying");
        }
        tokio::time::sleep(RETRY).await;
        match open(settings, metrics, status).await {
            Ok(opened) => {
                status.waits_for(None);
                status.condition(Condition::Start, None);
                return opened;
            }
            Err(next) => error = next,
        }
    }
}
