//! `serve`: the wiring of the process that answers the API server.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use runtime::admin::{self, Readiness};
use runtime::logging::{self, LogFormat, LogLevel};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::server::{self, Webhook};

/// How often the certificate's files are compared with what is served.
const CERT_INTERVAL: Duration = Duration::from_secs(10);

/// The flags of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The configuration, a YAML file; without it all defaults hold.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where reviews come in, as HTTPS, at the path /mutate.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /live, /ready and /metrics are, as plain HTTP.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_ADMIN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9465")]
    admin_listen: SocketAddr,
    /// A folder with tls.crt and tls.key.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CERT_DIR", value_name = "DIR")]
    cert_dir: PathBuf,
    /// How log lines are written to standard error.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// From which severity on.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_LOG_LEVEL", value_enum, default_value_t)]
    log_level: LogLevel,
}

/// Serves until a signal ends it.
pub(crate) fn run(args: Serve) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, args.log_level);
    runtime::tls::install_crypto_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve_until_signalled(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_signalled(args: Serve) -> anyhow::Result<()> {
    let shutdown = runtime::shutdown::on_signals()?;
    let config = Config::read_or_default(args.config.as_deref())?;
    let cert = certs::ServingCert::read(&args.cert_dir)?;
    let tls = cert.server_config()?;
    let mut registry = Registry::default();
    let webhook =
        Webhook { config: Arc::new(ArcSwap::from_pointee(config)), metrics: Metrics::register(&mut registry) };
    let listener = TcpListener::bind(args.listen).with_context(|| format!("failed to listen on {}", args.listen))?;
    let admin_listener = tokio::net::TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| format!("failed to listen on {}", args.admin_listen))?;
    // The port is printed because `--listen 127.0.0.1:0` leaves its choice to the system.
    tracing::info!(
        listen = %listener.local_addr()?,
        admin_listen = %admin_listener.local_addr()?,
        "serving"
    );
    let readiness = Readiness::default();
    readiness.set(true);
    let routes = admin::routes(readiness.clone(), Arc::new(registry));
    let admin = admin::serve(admin_listener, routes, shutdown.clone());
    let watch = cert.watch(CERT_INTERVAL, shutdown.clone());
    let serve = server::serve(listener, tls, webhook, shutdown.clone());
    let unready = async {
        shutdown.cancelled().await;
        readiness.set(false);
    };
    let (served, (), (), ()) = tokio::join!(serve, watch, admin, unready);
    served.context("the HTTPS server ended")
}
