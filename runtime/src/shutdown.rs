//! The ending: a first SIGTERM or SIGINT asks for it, a second one insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice to end.
const INSISTED: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT; the second one ends the process on the spot.
///
/// A thread of their own waits for them: whoever insists is heard though everything else is stuck.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let ears = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = ears.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        ears.block_on(async {
            let mut name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "shutting down");
            asked.cancel();
            name = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "told twice, ending at once");
            std::process::exit(INSISTED);
        });
    })?;
    Ok(shutdown)
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
