//! `run`: ships until told to end, and stays up whatever is wrong with what it was told.
//!
//! A sidecar that exits is restarted, and a pod whose container crashes looks broken to whoever watches the database. So
//! settings that cannot be used leave the process up: not Ready, loud in the log, gone at once on SIGTERM. With `--once`
//! somebody waits for the end, and gets exit code 2.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use runtime::admin::Readiness;
use runtime::{logging, shutdown};

use crate::admin::SharedStatus;
use crate::args::RunArgs;
use crate::metrics::Metrics;
use crate::pipeline::{AdminPort, Shipper};
use crate::settings::{InvalidSettings, Settings};

/// The exit code of a command line that cannot be used, clap's own.
const USAGE: u8 = 2;
/// Where `/status` tells what is wrong when `--listen` is a part of it: the port that injected pods use.
const FALLBACK_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9464);
/// Settings that cannot be used are told again this often.
const REMINDER: Duration = Duration::from_mins(1);

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (format, level) = args.logging();
    logging::init(format, level);
    let settings = Settings::new(args);
    if let Err(error) = &settings
        && args.asks_for_once()
    {
        eprintln!("error: {error}");
        return Ok(ExitCode::from(USAGE));
    }
    runtime::tls::install_crypto_provider();
    // One thread does it all; what blocks (syncing the position file) has a helper.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let shutdown = shutdown::on_signals()?;
        match settings {
            Ok(settings) => Box::pin(Shipper::start(settings).await.run(shutdown)).await?,
            Err(error) => {
                // Nobody has to wait for a log directory that will not be read.
                shutdown.run_until_cancelled(stay(&error, args.listen().unwrap_or(Some(FALLBACK_LISTEN)))).await;
                tracing::info!("ended");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Says what is wrong with the settings, again and again.
async fn stay(error: &InvalidSettings, listen: Option<SocketAddr>) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.unusable_settings(error.0.len());
    let status = SharedStatus::default();
    status.faults(&error.0);
    let port = AdminPort::new(listen, Readiness::default(), Arc::new(registry), status, metrics);
    let remind = async {
        loop {
            tracing::error!(faults = ?error.0, "the settings cannot be used, nothing is shipped; correct them and restart");
            tokio::time::sleep(REMINDER).await;
        }
    };
    tokio::join!(port.serve(), remind);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn says_every_minute_what_is_wrong_with_the_settings() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let error = InvalidSettings(vec!["--max-age \"old\": expected a duration".to_owned()]);
        let minutes = Duration::from_secs(5 * 60 + 1);
        assert!(tokio::time::timeout(minutes, stay(&error, None)).await.is_err());
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("--max-age").count(), 6, "{text}");
    }
}
