//! `cargo load` measures the cost of the webhook and the shipper, on loopback in release mode.
//!
//! ```text
//! webhook   connection ─┐ reviews at fixed times, over TLS
//!           connection ─┴──────────────────────────────────► subject: the real webhook, its memory and CPU time
//! shipper   logs ──► bound: one thread that does only the unavoidable work
//!             └────► the real shipper ── TLS ──► sink: accepts and discards
//! cluster   pods, with and without the webhook ──► API server ──► installation: the real webhook
//! ```
//!
//! It prints numbers and does not compare them with goals. Goals and the numbers of one run are in `docs/performance.md`.

mod bound;
mod cluster;
mod connection;
mod logs;
mod report;
mod shipper;
mod sink;
mod subject;
mod usage;
mod webhook;

use clap::Parser;

/// Measures the webhook and the shipper on loopback.
#[derive(Debug, Parser)]
#[command(name = "cargo load")]
enum Args {
    /// Send reviews over TLS at a fixed rate.
    Webhook(webhook::Load),
    /// Create pods on a real API server, with and without the webhook.
    Cluster(cluster::Load),
    /// Ship log files, and compare with a thread that does only the unavoidable work.
    Shipper(shipper::Load),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(!cfg!(debug_assertions), "only a release build is worth measuring: use `cargo load`");
    runtime::tls::install_crypto_provider();
    match args {
        Args::Webhook(load) => webhook::run(&load).await,
        Args::Cluster(load) => cluster::run(&load).await,
        Args::Shipper(load) => shipper::run(&load).await,
    }
}
