//! The command line. Every flag also reads an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use runtime::logging::{self, LogFormat, LogLevel};

use crate::pipeline::Shipper;
use crate::settings::Settings;

/// The exit code of a command line that cannot be understood, clap's own.
const USAGE: u8 = 2;

/// Ships Redis Enterprise's log files to Loki, losing no line and showing none twice.
#[derive(Debug, Parser)]
#[command(name = "redis-log-shipper", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the files and push their lines, until told to end.
    Run(RunArgs),
}

/// What becomes of lines that tell no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Multiline {
    /// They continue the line before them, in files in which some line told a time.
    #[default]
    Auto,
    /// They are entries of their own.
    Off,
}

/// The flags of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Where the log files are.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_DIR", value_name = "DIR", default_value = "/var/opt/redislabs/log")]
    pub log_dir: PathBuf,
    /// Which files to ship, by name; may be given more than once. [default: *.log]
    #[arg(long, env = "REDIS_LOG_SHIPPER_INCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Which of them to leave out; may be given more than once.
    #[arg(long, env = "REDIS_LOG_SHIPPER_EXCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// The full push URL.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOKI_URL", value_name = "URL")]
    pub loki_url: String,
    /// The file with the bearer token; none is sent without it.
    #[arg(long, env = "REDIS_LOG_SHIPPER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token even over plain http.
    #[arg(long, env = "REDIS_LOG_SHIPPER_ALLOW_PLAINTEXT_TOKEN")]
    pub allow_plaintext_token: bool,
    /// A file with CAs to trust, which may be absent; may be given more than once. [default: the system's CAs]
    #[arg(long, env = "REDIS_LOG_SHIPPER_CA_FILE", value_name = "FILE", value_delimiter = ',')]
    pub ca_file: Vec<PathBuf>,
    /// A label of every stream; may be given more than once.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LABEL", value_name = "NAME=VALUE", value_delimiter = ',')]
    pub label: Vec<String>,
    /// Where positions are kept across restarts.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where /live, /ready, /metrics and /status are, as plain HTTP; nowhere without it.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// A push holds at most this much, uncompressed.
    #[arg(long, env = "REDIS_LOG_SHIPPER_BATCH_BYTES", value_name = "SIZE", default_value = "1MiB")]
    pub batch_bytes: String,
    /// A file's lines wait for others at most this long.
    #[arg(long, env = "REDIS_LOG_SHIPPER_BATCH_WAIT", value_name = "DURATION", default_value = "1s")]
    pub batch_wait: String,
    /// Longer lines come in pieces of this length.
    #[arg(long, env = "REDIS_LOG_SHIPPER_MAX_LINE", value_name = "SIZE", default_value = "250KB")]
    pub max_line: String,
    /// Older entries are skipped: Loki rejects them.
    #[arg(long, env = "REDIS_LOG_SHIPPER_MAX_AGE", value_name = "DURATION", default_value = "168h")]
    pub max_age: String,
    /// After SIGTERM what is there is shipped, for at most this long.
    #[arg(long, env = "REDIS_LOG_SHIPPER_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: String,
    /// In which time zone the files write their times, such as UTC or Europe/Berlin.
    #[arg(long, env = "REDIS_LOG_SHIPPER_TIMEZONE", value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// Whether lines without a time continue the line before them (auto), or are entries of their own (off).
    #[arg(long, env = "REDIS_LOG_SHIPPER_MULTILINE", value_enum, default_value_t)]
    pub multiline: Multiline,
    /// How log lines are written to standard error.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// From which severity on.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_LEVEL", value_enum, default_value_t)]
    pub log_level: LogLevel,
    /// Ship what is there, then end.
    #[arg(long, env = "REDIS_LOG_SHIPPER_ONCE")]
    pub once: bool,
}

/// Runs the command that `args` name.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Run(args) = args.command;
    logging::init(args.log_format, args.log_level);
    let settings = match Settings::new(&args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    runtime::tls::install_crypto_provider();
    // One thread does it all; what blocks (syncing the position file) has a helper.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let shutdown = runtime::shutdown::on_signals()?;
        Box::pin(Shipper::start(settings).await?.run(shutdown)).await;
        Ok(ExitCode::SUCCESS)
    })
}
