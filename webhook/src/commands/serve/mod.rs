//! `serve`: wires the process that answers the API server.

mod certificate;
mod clients;
mod cluster;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use runtime::admin::{self, Readiness};
use runtime::logging::{self, LogFormat, LogLevel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::knowledge::Knowledge;
use crate::cluster::{api, managed_rbac};
use crate::config::Config;
use crate::config::reload::Reloader;
use crate::connections::Limits;
use crate::metrics::Metrics;
use crate::server::{self, Webhook};
use certificate::Certificate;
use clients::Clients;
use cluster::{Cluster, Followed};

/// How often the files of the certificate and the configuration are checked.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// The flags of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The configuration, a YAML file, read again when it changes. Without it, all defaults apply.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address for reviews, as HTTPS, with the path /mutate.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The address for /live, /ready and /metrics, as plain HTTP.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_ADMIN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9465")]
    admin_listen: SocketAddr,
    #[command(flatten)]
    certificate: Certificate,
    #[command(flatten)]
    clients: Clients,
    #[command(flatten)]
    cluster: Cluster,
    /// How many seconds the webhook still answers reviews after SIGTERM, until every API server has stopped sending them.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_SHUTDOWN_DELAY", value_name = "SECONDS", default_value_t = 12)]
    shutdown_delay: u64,
    /// The format of log lines on standard error.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// The lowest severity to log.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LOG_LEVEL", value_enum, default_value_t)]
    log_level: LogLevel,
}

/// Serves until a signal.
pub(crate) fn run(args: Serve) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, args.log_level);
    runtime::tls::install_crypto_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve_until_signalled(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_signalled(args: Serve) -> anyhow::Result<()> {
    let signalled = runtime::shutdown::on_signals(None)?;
    let (ended, readiness, mut tasks) = (CancellationToken::new(), Readiness::default(), JoinSet::new());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);

    let client = api::needed(args.certificate.self_signed || args.cluster.managed_rbac).await?;
    let namespace = args.certificate.namespace.clone();
    let cert = args.certificate.open(client.as_ref())?;
    let tls = match args.clients.verifier()? {
        Some(clients) => cert.server_config_for(clients)?,
        None => cert.server_config()?,
    };
    if let (Some(client), true) = (client, args.cluster.managed_rbac) {
        let metrics = managed_rbac::Metrics::register(&mut registry);
        tasks.spawn(managed_rbac::keep(client, metrics, ended.clone()));
    }
    let config = follow_config(args.config, &metrics, &ended, &mut tasks)?;
    let knowledge = Knowledge::default();
    let Followed { events, asking } =
        args.cluster.follow((&config, &namespace), &knowledge, &metrics, &ended, &mut tasks).await;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("failed to listen on {}", args.listen))?;
    let admin_listener = tokio::net::TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| format!("failed to listen on {}", args.admin_listen))?;
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);

    readiness.set(cert.is_valid(SystemTime::now()));
    let (counted, ready, going) = (metrics.clone(), readiness.clone(), signalled.clone());
    tasks.spawn(cert.watch(
        RELOAD_INTERVAL,
        move |cert, good| {
            counted.certificate(good, cert.expires());
            // No API server trusts an expired certificate. Not being ready tells it faster than a timeout.
            ready.set(cert.is_valid(SystemTime::now()) && !going.is_cancelled());
            // Checked again: a signal may have come in between.
            if going.is_cancelled() {
                ready.set(false);
            }
        },
        ended.clone(),
    ));
    tasks.spawn(admin::serve(admin_listener, admin::routes(readiness.clone(), Arc::new(registry)), ended.clone()));
    let closing = CancellationToken::new();
    let webhook = Webhook { config, metrics, events, asking, knowledge, leaving: signalled.clone() };
    let mut serving = tokio::spawn(server::serve(listener, tls, Limits::default(), webhook, closing.clone()));
    // With `--listen 127.0.0.1:0`, the system chooses the port.
    tracing::info!(listen = %address, admin_listen = %admin_address, "serving");

    tokio::select! {
        () = signalled.cancelled() => {}
        ended = &mut serving => {
            ended.context("the HTTPS server panicked")?.context("the HTTPS server ended")?;
            anyhow::bail!("the HTTPS server ended");
        }
    }
    // Lame duck: not ready any more, but still answering API servers that do not know it yet.
    readiness.set(false);
    tracing::info!(seconds = args.shutdown_delay, "shutting down: not ready, still answering reviews");
    tokio::time::sleep(Duration::from_secs(args.shutdown_delay)).await;
    closing.cancel();
    let served = serving.await.context("the HTTPS server panicked")?;
    ended.cancel();
    tasks.join_all().await;
    served.context("the HTTPS server ended")
}

/// The current configuration, and the task that follows its file.
fn follow_config(
    path: Option<PathBuf>,
    metrics: &Metrics,
    ended: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Arc<ArcSwap<Config>>> {
    let Some(path) = path else { return Ok(Arc::new(ArcSwap::from_pointee(Config::default()))) };
    let reloader = Reloader::read(path)?;
    let (config, metrics) = (reloader.current(), metrics.clone());
    tasks.spawn(reloader.watch(RELOAD_INTERVAL, move |good| metrics.config(good), ended.clone()));
    Ok(config)
}
