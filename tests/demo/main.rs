//! `cargo demo` shows the main job without a cluster, Go or root.
//!
//! ```text
//! certificates ── webhook (HTTPS) ◄── AdmissionReview of a Redis Enterprise pod
//!                    └─► the injected container's args ──► shipper ──► receiver (or --loki-url) ──► two queries
//!                                      log directory ── written and rotated ──┘
//! ```

mod admission;
mod receiver;
mod shipping;
mod terminal;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use terminal::Terminal;

/// Shows the main job of redis-log-shipper: inject a pod, ship its logs, query them.
#[derive(Debug, Parser)]
#[command(name = "cargo demo")]
struct Args {
    /// The full push URL of a Loki to ship to, instead of the built-in receiver.
    #[arg(long, value_name = "URL")]
    loki_url: Option<String>,
    /// Log entries for each of the 17 files.
    #[arg(long, value_name = "N", default_value_t = 600)]
    entries: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    runtime::tls::install_crypto_provider();
    let terminal = Terminal::default();
    let start = Instant::now();
    match demo(&args, &terminal).await {
        Ok(true) => {
            terminal.good(&format!("done in {:.1} s", start.elapsed().as_secs_f64()));
            ExitCode::SUCCESS
        }
        Ok(false) => {
            terminal.bad("lines are missing or doubled");
            ExitCode::FAILURE
        }
        Err(error) => {
            terminal.bad(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo and returns whether every line arrived exactly once.
async fn demo(args: &Args, terminal: &Terminal) -> anyhow::Result<bool> {
    let receiver = match &args.loki_url {
        Some(url) => receiver::Receiver::real(url)?,
        None => receiver::Receiver::embedded().await?,
    };
    let sidecar = admission::inject(&receiver.push_url, terminal).await?;
    let files = shipping::ship(&sidecar, args.entries, terminal).await?;
    shipping::compare(&files, &receiver, terminal).await
}
