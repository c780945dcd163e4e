//! The ending: a first SIGTERM or SIGINT asks for it, a second one insists, and so does time.

use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice to end.
const INSISTED: i32 = 130;
/// The exit code of a process that did not end in time.
const OVERDUE: i32 = 1;
/// A log that nobody takes holds up no ending for longer than this.
const SAYING: Duration = Duration::from_millis(100);

/// A token that is cancelled by the first SIGTERM or SIGINT; the second one ends the process on the spot, and so does the
/// end of `within`, where that is given.
///
/// A thread of their own waits for them: whoever insists is heard though everything else is stuck, and a process that is
/// stuck in a file system that does not answer ends nevertheless.
pub fn on_signals(within: Option<Duration>) -> std::io::Result<CancellationToken> {
    let ears = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = ears.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        ears.block_on(async {
            let name = next(&mut terminate, &mut interrupt).await;
            asked.cancel();
            say(move || tracing::info!(signal = name, "shutting down"));
            let again = tokio::time::timeout(within.unwrap_or(Duration::MAX), next(&mut terminate, &mut interrupt));
            if let Ok(name) = again.await {
                say(move || tracing::warn!(signal = name, "second signal: exiting immediately"));
                std::process::exit(INSISTED);
            }
            say(|| tracing::error!("shutdown timed out: exiting immediately"));
            std::process::exit(OVERDUE);
        });
    })?;
    Ok(shutdown)
}

/// Logs something, and waits for that only so long.
fn say(something: impl FnOnce() + Send + 'static) {
    let (said, waits) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        something();
        drop(said);
    });
    // An error either way: it is said, or it takes too long.
    let _ = waits.recv_timeout(SAYING);
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
