//! Log lines on standard error. Standard output is for results only.

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::printable;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for collectors.
    #[default]
    Json,
    /// Text for people, coloured on a terminal.
    Text,
}

/// The lowest severity that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the five levels need no words")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn filter(self) -> EnvFilter {
        // Debug messages of libraries do not help users who debug *our* programs.
        let directives = match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "info,redis_log_shipper=debug,redis_log_webhook=debug,certs=debug,runtime=debug",
            Self::Trace => "trace",
        };
        EnvFilter::new(directives)
    }
}

/// Changes the lowest severity of the process's log.
static LEVEL: OnceLock<Box<dyn Fn(LogLevel) + Send + Sync>> = OnceLock::new();

/// Changes the lowest severity that is logged from here on. Without [`init`], nothing is logged anyway.
pub fn set_level(level: LogLevel) {
    if let Some(set) = LEVEL.get() {
        set(level);
    }
}

/// Starts logging for this process. Only the first call counts.
pub fn init(format: LogFormat, level: LogLevel) {
    init_to(format, level, std::io::stderr);
}

/// As [`init`], where something else is drawn on standard error: `writer` writes the lines there.
pub fn init_to<W>(format: LogFormat, level: LogLevel, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A log line that cannot be written (full disk, closed pipe) must not end the process, and reporting it would panic.
    let builder =
        tracing_subscriber::fmt().with_env_filter(level.filter()).with_writer(writer).log_internal_errors(false);
    let started = match format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| remember(move |level| handle.reload(level.filter()).is_ok()))
        }
        LogFormat::Text => {
            let builder = builder.fmt_fields(fields()).with_ansi(std::io::stderr().is_terminal());
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map(|()| remember(move |level| handle.reload(level.filter()).is_ok()))
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Remembers how the level is changed. `reload` says whether it was.
fn remember(reload: impl Fn(LogLevel) -> bool + Send + Sync + 'static) {
    let set = move |level| {
        if !reload(level) {
            tracing::debug!("the log is gone");
        }
    };
    if LEVEL.set(Box::new(set)).is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Formats values as text. Values contain file names and messages of servers, which may be chosen to deceive a reader. In
/// JSON they are escaped anyway.
fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    let field = debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        let value = printable(&value);
        if field.name() == "message" { write!(writer, "{value}") } else { write!(writer, "{}={value}", field.name()) }
    });
    field.delimited(" ")
}

#[cfg(test)]
mod tests {
    use testing::Log;

    use super::*;

    #[test]
    fn writes_one_line_of_text_for_any_name() {
        let log = Log::default();
        let writer = log.clone();
        let builder =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).fmt_fields(fields());
        tracing::subscriber::with_default(builder.finish(), || {
            let name = "\u{1b}[2Ja\n2026 ERROR forged.log";
            tracing::warn!(file = %name, again = name, bytes = 3, "read {name}");
        });
        let text = log.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        let shown = "\\u{1b}[2Ja\\n2026 ERROR forged.log";
        assert!(text.contains(&format!("read {shown} file={shown} again=\"{shown}\" bytes=3")), "{text}");
    }
}
