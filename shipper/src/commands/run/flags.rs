//! The flags of `run`, as strings. `settings` parses them.

use std::ffi::OsString;

/// The flags of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The directory with the log files; with --once also a support package (.tar.gz).
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_DIR", value_name = "DIR", default_value = "/var/opt/redislabs/log")]
    pub log_dir: OsString,
    /// The names of the files to ship; may be given more than once. [default: *.log]
    #[arg(long, env = "REDIS_LOG_SHIPPER_INCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub include: Vec<String>,
    /// The names of files to leave out; may be given more than once.
    #[arg(long, env = "REDIS_LOG_SHIPPER_EXCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// The full push URL.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOKI_URL", value_name = "URL")]
    pub loki_url: Option<String>,
    /// The file with the bearer token; without it, pushes have no token.
    #[arg(long, env = "REDIS_LOG_SHIPPER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<OsString>,
    /// Send the token even over plain http.
    #[arg(long, env = "REDIS_LOG_SHIPPER_ALLOW_PLAINTEXT_TOKEN", value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_plaintext_token: String,
    /// A file with CAs to trust, which may be absent; may be given more than once. [default: the system's CAs]
    #[arg(long, env = "REDIS_LOG_SHIPPER_CA_FILE", value_name = "FILE", value_delimiter = ',')]
    pub ca_file: Vec<OsString>,
    /// A label of every stream; may be given more than once.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LABEL", value_name = "NAME=VALUE", value_delimiter = ',')]
    pub label: Vec<String>,
    /// The directory that keeps positions across restarts.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<OsString>,
    /// The directory that keeps positions while the state directory is not writable.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_FALLBACK_DIR", value_name = "DIR")]
    pub state_fallback_dir: Option<OsString>,
    /// The address of /live, /ready, /metrics and /status, over plain HTTP; without it, they are not served.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// The largest push, uncompressed.
    #[arg(long, env = "REDIS_LOG_SHIPPER_BATCH_BYTES", value_name = "SIZE", default_value = "1MiB")]
    pub batch_bytes: String,
    /// The longest wait of a file's lines for more lines.
    #[arg(long, env = "REDIS_LOG_SHIPPER_BATCH_WAIT", value_name = "DURATION", default_value = "1s")]
    pub batch_wait: String,
    /// The longest line; longer lines are split into pieces of this length.
    #[arg(long, env = "REDIS_LOG_SHIPPER_MAX_LINE", value_name = "SIZE", default_value = "250KB")]
    pub max_line: String,
    /// The oldest entry to push; older entries are skipped, because Loki rejects them.
    #[arg(long, env = "REDIS_LOG_SHIPPER_MAX_AGE", value_name = "DURATION", default_value = "168h")]
    pub max_age: String,
    /// The most to push per second, compressed, including resends. [default: no limit]
    #[arg(long, env = "REDIS_LOG_SHIPPER_RATE_LIMIT", value_name = "SIZE")]
    pub rate_limit: Option<String>,
    /// The longest time to ship the rest after SIGTERM.
    #[arg(long, env = "REDIS_LOG_SHIPPER_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: String,
    /// The time zone of timestamps without a zone, such as UTC or Europe/Berlin.
    #[arg(long, env = "REDIS_LOG_SHIPPER_TIMEZONE", value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// Whether a line without a timestamp continues the line before it (auto), or is a separate entry (off).
    #[arg(long, env = "REDIS_LOG_SHIPPER_MULTILINE", value_name = "auto|off", default_value = "auto")]
    pub multiline: String,
    /// Whether secrets are replaced before an entry leaves the process (on), or lines are shipped unchanged (off).
    #[arg(long, env = "REDIS_LOG_SHIPPER_REDACT", value_name = "on|off", default_value = "on")]
    pub redact: String,
    /// A redaction rule; may be given more than once, one per line in the variable. It replaces the match of the pattern's first
    /// group, or the whole match if the pattern has no group.
    #[arg(long, env = "REDIS_LOG_SHIPPER_REDACT_PATTERN", value_name = "NAME=REGEX", value_delimiter = '\n')]
    pub redact_pattern: Vec<String>,
    /// A rule for entries to drop; may be given more than once, one per line in the variable. By level, such as level=debug, or
    /// by pattern, such as pattern=health check. A glob and a colon before it choose the files, such as dmcproxy*:level=info.
    /// [default: none]
    #[arg(
        long,
        env = "REDIS_LOG_SHIPPER_DROP",
        value_name = "[GLOB:]level=LEVEL|[GLOB:]pattern=REGEX",
        value_delimiter = '\n'
    )]
    pub drop: Vec<String>,
    /// A file with the settings that may change while the shipper runs, which may be absent. It is read every 5 seconds and on
    /// SIGHUP, and what it says counts more than the flags.
    #[arg(long, env = "REDIS_LOG_SHIPPER_RUNTIME_CONFIG", value_name = "FILE")]
    pub runtime_config: Option<OsString>,
    /// The format of the log on standard error: json or text.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_FORMAT", value_name = "FORMAT", default_value = "json")]
    pub log_format: String,
    /// The lowest level to log: error, warn, info, debug or trace.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Ship the lines that are there, then end.
    #[arg(long, env = "REDIS_LOG_SHIPPER_ONCE", value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub once: String,
}
