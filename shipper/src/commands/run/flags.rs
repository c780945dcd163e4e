//! The flags of `run`, as strings. `settings` parses them.

use std::ffi::OsString;

/// The flags of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Where the log files are.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_DIR", value_name = "DIR", default_value = "/var/opt/redislabs/log")]
    pub log_dir: OsString,
    /// Which files to ship, by name; may be given more than once. [default: *.log]
    #[arg(long, env = "REDIS_LOG_SHIPPER_INCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Which of them to leave out; may be given more than once.
    #[arg(long, env = "REDIS_LOG_SHIPPER_EXCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// The full push URL.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOKI_URL", value_name = "URL")]
    pub loki_url: Option<String>,
    /// The file with the bearer token; none is sent without it.
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
    /// Where positions are kept across restarts.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<OsString>,
    /// Where positions are kept while the state directory cannot be written.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_FALLBACK_DIR", value_name = "DIR")]
    pub state_fallback_dir: Option<OsString>,
    /// Where /live, /ready, /metrics and /status are, as plain HTTP; nowhere without it.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
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
    /// At most this much is pushed per second, compressed, resends included. [default: no limit]
    #[arg(long, env = "REDIS_LOG_SHIPPER_RATE_LIMIT", value_name = "SIZE")]
    pub rate_limit: Option<String>,
    /// After SIGTERM what is there is shipped, for at most this long.
    #[arg(long, env = "REDIS_LOG_SHIPPER_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: String,
    /// In which time zone the files write their times, such as UTC or Europe/Berlin.
    #[arg(long, env = "REDIS_LOG_SHIPPER_TIMEZONE", value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// Whether lines without a time continue the line before them (auto), or are entries of their own (off).
    #[arg(long, env = "REDIS_LOG_SHIPPER_MULTILINE", value_name = "auto|off", default_value = "auto")]
    pub multiline: String,
    /// Whether secrets are replaced before an entry leaves the process (on), or every line is shipped as it is (off).
    #[arg(long, env = "REDIS_LOG_SHIPPER_REDACT", value_name = "on|off", default_value = "on")]
    pub redact: String,
    /// A redaction rule of your own; may be given more than once, one a line in the variable. It replaces what the pattern's
    /// first group matches, or the whole match where the pattern has no group.
    #[arg(long, env = "REDIS_LOG_SHIPPER_REDACT_PATTERN", value_name = "NAME=REGEX", value_delimiter = '\n')]
    pub redact_pattern: Vec<String>,
    /// Which entries are dropped on purpose; may be given more than once, one a line in the variable. By level, such as
    /// level=debug, or by pattern, such as pattern=health check. A glob and a colon before it choose the files, such as
    /// dmcproxy*:level=info. [default: none]
    #[arg(
        long,
        env = "REDIS_LOG_SHIPPER_DROP",
        value_name = "[GLOB:]level=LEVEL|[GLOB:]pattern=REGEX",
        value_delimiter = '\n'
    )]
    pub drop: Vec<String>,
    /// How log lines are written to standard error: json or text.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_FORMAT", value_name = "FORMAT", default_value = "json")]
    pub log_format: String,
    /// From which severity on: error, warn, info, debug or trace.
    #[arg(long, env = "REDIS_LOG_SHIPPER_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Ship what is there, then end.
    #[arg(long, env = "REDIS_LOG_SHIPPER_ONCE", value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub once: String,
}
