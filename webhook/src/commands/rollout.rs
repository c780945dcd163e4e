//! `rollout`: restarts the Redis Enterprise pods of a namespace that need it, one at a time.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::SignedDuration;

use crate::commands::connection::Connection;
use crate::config::Config;
use crate::offline::output::print;
use crate::rollout::cluster::Cluster;
use crate::rollout::plan;
use crate::rollout::progress::Progress;
use crate::rollout::runner::{self, Stop};

/// The flags of `rollout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollout {
    /// The namespace.
    #[arg(value_name = "NAMESPACE")]
    namespace: String,
    /// Print the plan and restart nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also restart pods whose sidecar is of another version or configuration.
    #[arg(long)]
    drift: bool,
    /// The longest wait: for the pods to be Ready before a restart, for the budgets to allow it, and for the new pod.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    timeout: Duration,
    /// The webhook's configuration, a YAML file [default: the ConfigMap of the installation]
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the plan, and restarts the pods. The exit code is 1 if it stops before the last one.
pub(crate) fn run(args: Rollout) -> anyhow::Result<ExitCode> {
    runtime::tls::install_crypto_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(roll_out(args))
}

async fn roll_out(args: Rollout) -> anyhow::Result<ExitCode> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let mut connection = args.connection.config().await?;
    // A budget answers 429. The rollout says so and waits itself.
    connection.default_retry = false;
    let client = kube::Client::try_from(connection)?;
    let stop = runtime::shutdown::on_signals(None)?;
    let (cluster, note) = Cluster::new(client, args.namespace.clone(), config).await;
    let mut progress = Progress::new(std::io::stderr(), std::io::stderr().is_terminal());
    if let Some(note) = note {
        progress.line(&format!("note: the default configuration of the webhook is assumed: {note}"));
    }
    let mut rollout = runner::Rollout { cluster, drift: args.drift, timeout: args.timeout, stop, progress };
    let steps = match rollout.plan().await {
        Ok(steps) => steps,
        Err(stop) => return stopped(stop),
    };
    print(&plan::words(&args.namespace, &steps))?;
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = rollout.run(&steps).await;
    rollout.progress.end_wait();
    match ended {
        Ok(restarted) => {
            print(&plan::done(&args.namespace, restarted))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(stop) => stopped(stop),
    }
}

fn stopped(stop: Stop) -> anyhow::Result<ExitCode> {
    match stop {
        Stop::Found(finding) => {
            eprintln!("{}", plan::stopped(&finding));
            Ok(ExitCode::FAILURE)
        }
        other => Err(other.into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.ok_or_else(|| format!("invalid duration {text:?}: expected a duration such as 15m or 90s"))
}
