//! `run`: ships until SIGTERM, and keeps running even with invalid settings.
//!
//! A sidecar that exits is restarted, and a crashing container makes the database's pod look broken. So with invalid settings the
//! process keeps running: it is not Ready, logs the errors every minute, and ends at once on SIGTERM. With `--once` it exits with
//! code 2 instead, because its caller waits for the end.

pub(crate) mod flags;
mod once;
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use findings::Code;
use indicatif::ProgressBar;
use prometheus_client::registry::Registry;
use runtime::admin::Readiness;
use runtime::logging::{self, LogFormat, LogLevel};
use runtime::shutdown;
use std::io::IsTerminal as _;

pub(crate) use flags::RunArgs;

use crate::admin::AdminPort;
use crate::metrics::Metrics;
use crate::pipeline::Shipper;
use crate::settings::{InvalidSettings, Settings};
use crate::status::SharedStatus;
use crate::status::finding_metrics::FindingMetrics;

/// The exit code of an invalid command line, the same as clap's.
const USAGE: u8 = 2;
/// Where `/status` shows the errors if `--listen` is invalid itself: the port that injected pods use.
const FALLBACK_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9464);
/// A process that has not ended this long after the drain timeout is stuck, and exits. The grace period of a pod may be a year.
const STUCK: Duration = Duration::from_secs(1);
/// Invalid settings are logged again after this time.
const REMINDER: Duration = Duration::from_mins(1);

/// Runs the command.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let bar = start_logging(args);
    let settings = Settings::new(args);
    if let Err(error) = &settings
        && args.asks_for_once()
    {
        eprintln!("error: {error}");
        return Ok(ExitCode::from(USAGE));
    }
    runtime::tls::install_crypto_provider();
    // One thread does everything, except blocking work such as syncing the position file and resolving names.
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = threads.block_on(ship(args, settings, bar));
    // Blocking work on a disk or a name server that does not answer must not delay the exit.
    threads.shutdown_background();
    ended
}

async fn ship(
    args: &RunArgs,
    settings: Result<Settings, InvalidSettings>,
    bar: ProgressBar,
) -> anyhow::Result<ExitCode> {
    let drain_timeout = settings.as_ref().map_or(Duration::ZERO, |settings| settings.drain_timeout);
    let shutdown = shutdown::on_signals(Some(drain_timeout + STUCK))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let settings = match settings {
        Ok(settings) if settings.once => return Box::pin(once::run(settings, bar, shutdown)).await,
        settings => settings,
    };
    let usable = async {
        match settings {
            Ok(settings) => settings,
            Err(error) => stay(error, args.listen().unwrap_or(Some(FALLBACK_LISTEN)), || Settings::new(args)).await,
        }
    };
    let starts = async { Shipper::start(usable.await).await };
    // SIGTERM ends the wait for a log directory or a disk.
    if let Some(shipper) = shutdown.run_until_cancelled(Box::pin(starts)).await {
        Box::pin(shipper.run(shutdown)).await?;
    } else {
        tracing::info!("ended");
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts logging. At a terminal, `--once` draws a progress bar below the log, which then holds only what matters, as text.
fn start_logging(args: &RunArgs) -> ProgressBar {
    let (bar, (format, level)) = (once::bar(), args.logging());
    if args.asks_for_once() && std::io::stderr().is_terminal() {
        let level = if level == LogLevel::Info { LogLevel::Warn } else { level };
        once::draw(&bar);
        let above = bar.clone();
        logging::init_to(LogFormat::Text, level, move || once::Above(above.clone()));
    } else {
        logging::init(format, level);
    }
    bar
}

/// Logs every minute what is wrong with the settings, until they are valid. Flags do not change, but a missing time zone file may
/// appear.
async fn stay(
    mut error: InvalidSettings,
    listen: Option<SocketAddr>,
    mut parse: impl FnMut() -> Result<Settings, InvalidSettings>,
) -> Settings {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let status = SharedStatus::default();
    FindingMetrics::register(&mut registry, status.clone());
    let port = AdminPort::new(listen, Readiness::default(), Arc::new(registry), status.clone(), metrics.clone());
    let code = Code::SettingsInvalid.as_str();
    let remind = async {
        loop {
            metrics.unusable_settings(error.0.len());
            status.faults(&error.0);
            tracing::error!(code, faults = ?error.0, "the settings cannot be used, nothing is shipped; correct them and restart");
            tokio::time::sleep(REMINDER).await;
            match parse() {
                Ok(settings) => return settings,
                Err(still) => error = still,
            }
        }
    };
    tokio::select! {
        settings = remind => settings,
        settings = async {
            port.serve().await;
            std::future::pending().await
        } => settings,
    }
}

#[cfg(test)]
mod tests {
    use testing::Log;

    use super::*;

    fn invalid(fault: &str) -> InvalidSettings {
        InvalidSettings(vec![fault.to_owned()])
    }

    #[tokio::test(start_paused = true)]
    async fn logs_every_minute_why_the_settings_are_invalid() {
        let log = Log::default();
        let _guard = log.listen();
        let minutes = Duration::from_secs(5 * 60 + 1);
        let stays = stay(invalid("--max-age old"), None, || Err(invalid("--max-age older")));
        assert!(tokio::time::timeout(minutes, stays).await.is_err());
        let text = log.take();
        assert_eq!(text.matches("--max-age old").count(), 6, "{text}");
        assert_eq!(text.matches("--max-age older").count(), 5, "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn accepts_settings_that_become_valid() {
        use clap::Parser as _;
        let line = ["redis-log-shipper", "run", "--loki-url=http://loki/push"];
        let crate::args::Command::Run(args) = crate::args::Args::parse_from(line).command else { panic!("no run") };
        let mut tries = 0;
        let stays = stay(invalid("--timezone Mars/Olympus"), None, || {
            tries += 1;
            if tries < 3 { Err(invalid("--timezone Mars/Olympus")) } else { Settings::new(&args) }
        });
        let settings = tokio::time::timeout(Duration::from_mins(4), stays).await.unwrap();
        assert_eq!(settings.push.url, "http://loki/push");
    }
}
