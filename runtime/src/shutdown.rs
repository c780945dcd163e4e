//! The shutdown: a first SIGTERM or SIGINT starts it. A second signal or a timeout ends the process at once.

use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal.
const SECOND_SIGNAL: i32 = 130;
/// The exit code after the timeout.
const TIMED_OUT: i32 = 1;
/// How long the shutdown waits for its log lines to be written.
const LOG_TIMEOUT: Duration = Duration::from_millis(100);

/// Returns a token that the first SIGTERM or SIGINT cancels. A second signal ends the process at once, and so does the
/// timeout `within`, which starts at the first signal.
///
/// The signals have a thread of their own. So a second signal and the timeout work even if every other thread hangs in a
/// file system that does not answer.
pub fn on_signals(within: Option<Duration>) -> std::io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let name = next(&mut terminate, &mut interrupt).await;
            asked.cancel();
            log(move || tracing::info!(signal = name, "shutting down"));
            let again = tokio::time::timeout(within.unwrap_or(Duration::MAX), next(&mut terminate, &mut interrupt));
            if let Ok(name) = again.await {
                log(move || tracing::warn!(signal = name, "second signal: exiting immediately"));
                std::process::exit(SECOND_SIGNAL);
            }
            log(|| tracing::error!("shutdown timed out: exiting immediately"));
            std::process::exit(TIMED_OUT);
        });
    })?;
    Ok(shutdown)
}

/// Logs something, but waits only a short time for it.
fn log(something: impl FnOnce() + Send + 'static) {
    let (written, waits) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        something();
        drop(written);
    });
    // The channel is closed when the line is written; otherwise this times out. Both are fine.
    let _ = waits.recv_timeout(LOG_TIMEOUT);
}

async fn next(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
