//! Parses the flags into settings, once, and reports all errors together.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use globset::Glob;
use hyper::Uri;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};
use runtime::logging::{LogFormat, LogLevel};
use runtime::words::{Multiline, Redact};

use crate::commands::run::flags::RunArgs;
use crate::discover::{self, Discovery};
use crate::drop::{self, DropRule};
use crate::labels::Labels;
use crate::push::{PushSettings, shown_url};
use crate::redaction::{OwnRule, Redaction};
use crate::tail::TailSettings;

/// The files that are shipped by default.
const DEFAULT_INCLUDE: &str = "*.log";
/// The longest duration. A hundred years can be added to any clock, and a longer duration is a typing error.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// All settings of a shipper.
#[derive(Debug)]
pub struct Settings {
    /// Which files are shipped.
    pub discovery: Discovery,
    /// How files are read.
    pub tail: TailSettings,
    /// Where entries are pushed.
    pub push: PushSettings,
    /// Where positions are kept. Without it, only in memory.
    pub state_dir: Option<PathBuf>,
    /// Where positions are kept while the state directory is not writable.
    pub state_fallback_dir: Option<PathBuf>,
    /// The address of the admin port, if there is one.
    pub listen: Option<SocketAddr>,
    /// How long the shipper may take to end.
    pub drain_timeout: Duration,
    /// Whether to end once everything is shipped.
    pub once: bool,
    /// The lowest severity that is logged.
    pub log_level: LogLevel,
    /// The file with the settings that may change while the shipper runs, if there is one.
    pub runtime_config: Option<PathBuf>,
    /// What the user should change in these settings.
    pub warnings: Vec<String>,
    /// Effects of these settings that may be intended.
    pub notes: Vec<String>,
}

/// The errors of invalid settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid settings: {}", .0.join("; "))]
pub struct InvalidSettings(pub Vec<String>);

impl RunArgs {
    /// The format and level of the log. For an invalid value it returns the default, and [`Settings::new`] reports the error.
    pub(crate) fn logging(&self) -> (LogFormat, LogLevel) {
        let faults = &mut Vec::new();
        (choice("--log-format", &self.log_format, faults), choice("--log-level", &self.log_level, faults))
    }

    /// Whether the flags ask to end once everything is shipped.
    pub(crate) fn asks_for_once(&self) -> bool {
        switch("--once", &self.once, &mut Vec::new())
    }

    /// The address of the admin port. An error if the flag is invalid.
    pub(crate) fn listen(&self) -> Result<Option<SocketAddr>, String> {
        let Some(given) = self.listen.as_deref().filter(|given| !given.is_empty()) else { return Ok(None) };
        given.parse().map(Some).map_err(|_no_address| {
            format!("--listen {given:?}: expected an IP address and a port, such as 0.0.0.0:9464")
        })
    }
}

impl Settings {
    /// Parses the flags. Returns all errors together.
    pub fn new(args: &RunArgs) -> Result<Self, InvalidSettings> {
        let faults = &mut Vec::new();
        let tail = tail(args, faults);
        let drain_timeout = duration("--drain-timeout", &args.drain_timeout, faults);
        let once = switch("--once", &args.once, faults);
        let listen = args.listen().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let _: LogFormat = choice("--log-format", &args.log_format, faults);
        let log_level = choice("--log-level", &args.log_level, faults);
        let runtime_config = path(args.runtime_config.as_ref());
        let mut warnings = Vec::new();
        let mut notes = Vec::new();
        let push = push(args, faults, &mut notes);
        let state_dir = path(args.state_dir.as_ref());
        let state_fallback_dir = path(args.state_fallback_dir.as_ref());
        if state_dir.is_none() {
            warnings.push("without --state-dir positions are not kept: a restart ships everything again".to_owned());
        }
        let discovery = discovery(args, faults);
        match discovery {
            Some(discovery) if faults.is_empty() => Ok(Self {
                discovery,
                tail,
                push,
                state_dir,
                state_fallback_dir,
                listen,
                drain_timeout,
                once,
                log_level,
                runtime_config,
                warnings,
                notes,
            }),
            _ => Err(InvalidSettings(std::mem::take(faults))),
        }
    }
}

/// The settings of `preview`: only what reading files needs.
#[derive(Debug)]
pub(crate) struct ReadSettings {
    /// Which files are shipped.
    pub(crate) discovery: Discovery,
    /// How files are read.
    pub(crate) tail: TailSettings,
}

impl ReadSettings {
    /// Parses the flags, except those for pushing. Returns all errors together.
    pub(crate) fn new(args: &RunArgs) -> Result<Self, InvalidSettings> {
        let faults = &mut Vec::new();
        let tail = tail(args, faults);
        match discovery(args, faults) {
            Some(discovery) if faults.is_empty() => Ok(Self { discovery, tail }),
            _ => Err(InvalidSettings(std::mem::take(faults))),
        }
    }
}

fn tail(args: &RunArgs, faults: &mut Vec<String>) -> TailSettings {
    TailSettings {
        batch_bytes: size("--batch-bytes", &args.batch_bytes, 1 << 10, 64 << 20, faults),
        batch_wait: duration("--batch-wait", &args.batch_wait, faults),
        max_line: size("--max-line", &args.max_line, 64, 16 << 20, faults),
        max_age: duration("--max-age", &args.max_age, faults),
        zone: zone(&args.timezone, faults),
        multiline: choice::<Multiline>("--multiline", &args.multiline, faults) == Multiline::Auto,
        labels: labels(&args.label, faults),
        redaction: Redaction {
            on: choice::<Redact>("--redact", &args.redact, faults) == Redact::On,
            own: own_rules(&args.redact_pattern, faults),
        },
        drop: drop_rules(&args.drop, faults),
    }
}

fn discovery(args: &RunArgs, faults: &mut Vec<String>) -> Option<Discovery> {
    let dir = path(Some(&args.log_dir));
    if dir.is_none() {
        faults.push("--log-dir: expected a directory, such as /var/opt/redislabs/log".to_owned());
    }
    let given = |patterns: &[String]| patterns.iter().filter(|glob| !glob.is_empty()).cloned().collect::<Vec<_>>();
    let mut include = given(&args.include);
    if include.is_empty() {
        include.push(DEFAULT_INCLUDE.to_owned());
    }
    let include = globs("--include", &include, faults);
    let exclude = globs("--exclude", &given(&args.exclude), faults);
    Discovery::new(dir.unwrap_or_default(), &include, &exclude)
        .map_err(|error| faults.push(format!("--include or --exclude: {error}")))
        .ok()
}

fn push(args: &RunArgs, faults: &mut Vec<String>, notes: &mut Vec<String>) -> PushSettings {
    let url = url(args.loki_url.as_deref(), faults);
    let plaintext_allowed = switch("--allow-plaintext-token", &args.allow_plaintext_token, faults);
    let token_file = path(args.token_file.as_ref()).filter(|_| {
        let plaintext = url.scheme_str() == Some("http") && !plaintext_allowed;
        if plaintext {
            // A Loki without authentication needs no token, so this is only a note.
            notes.push(
                "--loki-url is plain http, so the token is not sent; --allow-plaintext-token would send it".to_owned(),
            );
        }
        !plaintext
    });
    let rate_limit = args.rate_limit.as_deref().filter(|given| !given.is_empty());
    PushSettings {
        url,
        token_file,
        ca_files: args.ca_file.iter().filter_map(|file| path(Some(file))).collect(),
        rate_limit: rate_limit.map(|given| size("--rate-limit", given, 1 << 10, 1 << 40, faults) as u64),
    }
}

/// An empty path means none: a manifest sets an unused variable to an empty string.
fn path(given: Option<&OsString>) -> Option<PathBuf> {
    given.filter(|given| !given.is_empty()).map(PathBuf::from)
}

fn switch(flag: &str, given: &str, faults: &mut Vec<String>) -> bool {
    match given.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => true,
        "false" | "no" | "off" | "0" | "" => false,
        _ => {
            faults.push(format!("{flag} {given:?}: expected true or false"));
            false
        }
    }
}

fn choice<T: ValueEnum + Default>(flag: &str, given: &str, faults: &mut Vec<String>) -> T {
    T::from_str(given, true).unwrap_or_else(|_unknown| {
        let known: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let known: Vec<_> = known.iter().map(clap::builder::PossibleValue::get_name).collect();
        faults.push(format!("{flag} {given:?}: expected one of {}", known.join(", ")));
        T::default()
    })
}

fn zone(given: &str, faults: &mut Vec<String>) -> TimeZone {
    // This name needs no database of time zones, which may be missing.
    if given.eq_ignore_ascii_case("UTC") {
        return TimeZone::UTC;
    }
    TimeZone::get(given).unwrap_or_else(|error| {
        faults.push(format!("--timezone {given:?}: {error}; expected an IANA name such as Europe/Berlin"));
        TimeZone::UTC
    })
}

fn labels(given: &[String], faults: &mut Vec<String>) -> Labels {
    let given: Vec<_> = given.iter().filter(|label| !label.is_empty()).cloned().collect();
    Labels::parse(&given).unwrap_or_else(|errors| {
        faults.extend(errors.iter().map(|error| format!("--label: {error}")));
        Labels::default()
    })
}

fn own_rules(given: &[String], faults: &mut Vec<String>) -> Vec<OwnRule> {
    OwnRule::parse(&rules(given)).unwrap_or_else(|errors| {
        faults.extend(errors.iter().map(|error| format!("--redact-pattern: {error}")));
        Vec::new()
    })
}

fn drop_rules(given: &[String], faults: &mut Vec<String>) -> Vec<DropRule> {
    drop::parse(&rules(given)).unwrap_or_else(|errors| {
        faults.extend(errors.iter().map(|error| format!("--drop: {error}")));
        Vec::new()
    })
}

/// The rules of a list. A variable may have empty lines.
fn rules(given: &[String]) -> Vec<String> {
    given.iter().map(|rule| rule.trim()).filter(|rule| !rule.is_empty()).map(str::to_owned).collect()
}

fn globs(flag: &str, patterns: &[String], faults: &mut Vec<String>) -> Vec<Glob> {
    let mut globs = Vec::new();
    for pattern in patterns {
        match discover::glob(pattern) {
            Ok(glob) => globs.push(glob),
            Err(error) => faults.push(format!("{flag} {pattern:?}: {error}")),
        }
    }
    globs
}

fn size(flag: &str, given: &str, least: usize, most: usize, faults: &mut Vec<String>) -> usize {
    let parsed = given.parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    match parsed {
        Some(size) if (least..=most).contains(&size) => size,
        _ => {
            let bounds = (ByteSize(least as u64), ByteSize(most as u64));
            faults.push(format!("{flag} {given:?}: expected a size from {} to {}, such as 512KiB", bounds.0, bounds.1));
            least
        }
    }
}

fn duration(flag: &str, given: &str, faults: &mut Vec<String>) -> Duration {
    // A day has 24 hours and a week 7 days, as in Prometheus and Loki. Months and years have no fixed length.
    let whole = |span: Span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let parsed = given.parse().ok().and_then(whole).and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| *duration <= LONGEST).unwrap_or_else(|| {
        faults.push(format!("{flag} {given:?}: expected a duration such as 500ms, 30s, 168h or 7d"));
        Duration::ZERO
    })
}

fn url(given: Option<&str>, faults: &mut Vec<String>) -> Uri {
    const EXPECTED: &str = "expected the full push URL, such as https://loki:3100/loki/api/v1/push";
    match given.unwrap_or_default().parse::<Uri>() {
        Ok(url) if url.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            // The error does not repeat the password.
            faults.push(format!("--loki-url holds a user name or a password, which are not sent: {EXPECTED}"));
        }
        Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() => return url,
        _ => faults.push(match given {
            Some(given) => format!("--loki-url {:?}: {EXPECTED}", shown_url(given)),
            None => format!("--loki-url is missing: {EXPECTED}"),
        }),
    }
    Uri::default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn settings(args: &[&str]) -> Result<Settings, InvalidSettings> {
        let line = ["redis-log-shipper", "run"].iter().chain(args);
        match Args::try_parse_from(line).unwrap().command {
            Command::Run(args) => Settings::new(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_loki_on_a_laptop_needs_two_flags() {
        let settings = settings(&["--log-dir=/tmp", "--loki-url=http://localhost:3100/loki/api/v1/push"]).unwrap();
        assert_eq!(settings.tail.batch_bytes, 1 << 20);
        assert_eq!(settings.tail.max_age, Duration::from_hours(168));
    }

    #[test]
    fn never_sends_a_token_in_plain_text_unless_allowed() {
        let plain = ["--loki-url=http://loki/push", "--token-file=/token"];
        let withheld = settings(&plain).unwrap();
        assert_eq!(withheld.push.token_file, None);
        // The overlay for a Loki without authentication has these settings: a note, not a warning.
        assert!(withheld.notes.iter().any(|note| note.contains("the token is not sent")), "{:?}", withheld.notes);
        assert!(!withheld.warnings.iter().any(|warning| warning.contains("token")), "{:?}", withheld.warnings);
        let flags = ["--loki-url=http://loki/push", "--token-file=/token", "--allow-plaintext-token"];
        assert!(settings(&flags).unwrap().push.token_file.is_some());
    }

    #[test]
    fn reports_every_fault_together() {
        let InvalidSettings(faults) = settings(&[
            "--loki-url=loki:3100",
            "--log-dir=",
            "--batch-bytes=many",
            "--batch-wait=soon",
            "--max-line=1",
            "--max-age=old",
            "--drain-timeout=-1s",
            "--label=a-b=c",
            "--include=[",
            "--exclude=[",
            "--timezone=Mars/Olympus",
            "--listen=x",
            "--rate-limit=fast",
            "--drop=loud",
            "--log-format=xml",
            "--log-level=loud",
            "--once=perhaps",
            "--allow-plaintext-token=perhaps",
        ])
        .unwrap_err();
        assert_eq!(faults.len(), 18, "{faults:#?}");
        assert!(faults.iter().all(|fault| fault.starts_with("--")), "{faults:#?}");
        assert!(faults.contains(&r#"--log-format "xml": expected one of json, text"#.to_owned()), "{faults:#?}");
    }

    #[test]
    fn takes_no_duration_that_no_clock_can_be_set_forward_by() {
        let url = "--loki-url=http://loki/push";
        for flag in ["--batch-wait", "--max-age", "--drain-timeout"] {
            let InvalidSettings(faults) = settings(&[url, &format!("{flag}=2562047788015215h")]).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(flag), "{faults:?}");
            settings(&[url, &format!("{flag}=876000h")]).unwrap();
        }
    }

    #[test]
    fn takes_days_and_weeks_for_a_duration_and_no_month() {
        let url = "--loki-url=http://loki/push";
        for (given, hours) in [("7d", 168), ("1w", 168), ("1w2d3h", 219), ("1d12h", 36)] {
            let settings = settings(&[url, &format!("--max-age={given}")]).unwrap();
            assert_eq!(settings.tail.max_age, Duration::from_hours(hours), "{given}");
        }
        for given in ["1mo", "1y", "-1d", "d"] {
            let InvalidSettings(faults) = settings(&[url, &format!("--max-age={given}")]).unwrap_err();
            assert!(faults[0].contains("168h or 7d"), "{faults:?}");
        }
    }

    #[test]
    fn names_the_url_that_is_missing_and_repeats_no_password() {
        let InvalidSettings(faults) = settings(&[]).unwrap_err();
        assert!(faults[0].contains("--loki-url is missing"), "{faults:?}");
        let InvalidSettings(faults) = settings(&["--loki-url=https://me:secret@loki/push"]).unwrap_err();
        assert!(faults.len() == 1 && !faults[0].contains("secret"), "{faults:?}");
        let InvalidSettings(faults) = settings(&["--loki-url=htps://me:secret@lo ki/push?key=secret"]).unwrap_err();
        assert!(faults.len() == 1 && !faults[0].contains("secret"), "{faults:?}");
    }

    #[test]
    fn takes_an_empty_value_for_none_where_there_may_be_none() {
        let url = "--loki-url=http://loki/push";
        let empty =
            ["--token-file=", "--state-dir=", "--listen=", "--rate-limit=", "--ca-file=", "--include=", "--label="];
        let settings = settings(&[&[url], &empty[..]].concat()).unwrap();
        assert!(settings.state_dir.is_none() && settings.listen.is_none() && settings.push.ca_files.is_empty());
        assert!(settings.push.token_file.is_none() && settings.push.rate_limit.is_none());
        assert!(settings.discovery.is_stream("dmcproxy.log"));
    }
}
