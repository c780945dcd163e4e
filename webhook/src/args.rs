//! The command line, and the wiring of each command.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use prometheus_client::registry::Registry;
use runtime::admin::{self, Readiness};
use runtime::logging::{self, LogFormat, LogLevel};

use crate::admission::Verdict;
use crate::cluster::rbac::{self, Writers};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::offline::inject::{inject, title};
use crate::offline::render::{Output, render};
use crate::offline::{documents, inject::Outcome};
use crate::server::{self, Webhook};

/// How often the certificate's files are compared with what is served.
const CERT_INTERVAL: Duration = Duration::from_secs(10);

/// Mutating admission webhook that gives Redis Enterprise pods a log-shipper sidecar.
#[derive(Debug, Parser)]
#[command(name = "redis-log-webhook", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the API server over HTTPS.
    Serve(Serve),
    /// Show what the webhook would make of objects from files or standard input.
    Inject(Inject),
    /// Print the YAML of the permission that a namespace needs to push.
    Rbac(Rbac),
}

#[derive(Debug, clap::Args)]
struct Serve {
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

#[derive(Debug, clap::Args)]
struct Inject {
    /// A file with objects; may be given more than once. Standard input without it.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// The configuration, a YAML file; without it all defaults hold.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Rbac {
    /// The namespace of the Redis Enterprise cluster.
    #[arg(short, long, value_name = "NS")]
    namespace: String,
    /// The ServiceAccount of its pods; usually named like the cluster.
    #[arg(long, value_name = "SA", required_unless_present = "all_service_accounts")]
    service_account: Option<String>,
    /// All ServiceAccounts of the namespace.
    #[arg(long, conflicts_with = "service_account")]
    all_service_accounts: bool,
    /// The gateway's tenant.
    #[arg(long, value_name = "T", default_value = "application")]
    tenant: String,
}

/// Runs the command that `args` name; the exit code is 0, or 1 where something could not be injected.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(serve) => {
            logging::init(serve.log_format, serve.log_level);
            runtime::tls::install_crypto_provider();
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve_until_signalled(serve))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inject(args) => inject_all(&args),
        Command::Rbac(args) => print_rbac(args),
    }
}

async fn serve_until_signalled(args: Serve) -> anyhow::Result<()> {
    let shutdown = runtime::shutdown::on_signals()?;
    let config = read_config(args.config.as_deref())?;
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

fn read_config(path: Option<&std::path::Path>) -> anyhow::Result<Config> {
    path.map_or_else(|| Ok(Config::default()), |path| Ok(Config::read(path)?))
}

fn inject_all(args: &Inject) -> anyhow::Result<ExitCode> {
    let config = read_config(args.config.as_deref())?;
    let mut code = ExitCode::SUCCESS;
    let mut texts = Vec::new();
    for text in read_inputs(&args.files)? {
        for document in documents::parse(&text.0, &text.1)? {
            let name = title(&document);
            match inject(document.clone(), args.namespace.as_deref(), &config) {
                Ok(outcome) => {
                    if !say(&name, &outcome) {
                        code = ExitCode::FAILURE;
                    }
                    texts.push(render(&document, &outcome, args.output)?);
                }
                Err(error) => {
                    eprintln!("{:#}", anyhow::Error::new(error).context(name));
                    code = ExitCode::FAILURE;
                    texts.push(if args.output == Output::Json {
                        serde_json::to_string_pretty(&document)? + "\n"
                    } else {
                        documents::to_yaml(&document)?
                    });
                }
            }
        }
    }
    let separator = if args.output == Output::Yaml { "---\n" } else { "" };
    std::io::stdout().lock().write_all(texts.join(separator).as_bytes())?;
    Ok(code)
}

fn print_rbac(args: Rbac) -> anyhow::Result<ExitCode> {
    let writers = args.service_account.map_or(Writers::AllServiceAccounts, Writers::ServiceAccount);
    let documents = rbac::objects(&args.namespace, &writers, &args.tenant)
        .iter()
        .map(documents::to_yaml)
        .collect::<Result<Vec<_>, _>>()?;
    std::io::stdout().lock().write_all(documents.join("---\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what became of each pod on standard error; whether all of them are injected, or were before.
fn say(name: &str, outcome: &Outcome) -> bool {
    let mut fine = true;
    for (pointer, judged) in &outcome.pods {
        for warning in &judged.warnings {
            eprintln!("{name}{pointer}: warning: {warning}");
        }
        match &judged.verdict {
            Verdict::Injected { .. } => eprintln!("{name}{pointer}: injected"),
            Verdict::Skipped(skip) => {
                eprintln!("{name}{pointer}: not injected: {}", skip.reason());
                fine &= *skip == crate::admission::decision::Skip::AlreadyInjected;
            }
            Verdict::Failed(error) => {
                eprintln!("{name}{pointer}: not injected: {error}");
                fine = false;
            }
        }
    }
    fine
}

/// The texts to work on, each with the name that errors call it by.
fn read_inputs(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    files
        .iter()
        .map(|path| {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
            Ok((name, text))
        })
        .collect()
}
