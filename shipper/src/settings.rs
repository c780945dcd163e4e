//! What was typed becomes what is meant, once, and every fault is reported together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use globset::{Glob, GlobBuilder};
use hyper::Uri;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::args::RunArgs;
use crate::discover::Discovery;
use crate::labels::Labels;
use crate::push::PushSettings;
use crate::tail::TailSettings;

/// Which files are shipped where nothing is said about it.
const DEFAULT_INCLUDE: &str = "*.log";

/// Everything a shipper is told.
#[derive(Debug)]
pub struct Settings {
    /// Which files.
    pub discovery: Discovery,
    /// How they are read.
    pub tail: TailSettings,
    /// Where they go.
    pub push: PushSettings,
    /// Where positions are kept; in memory only without it.
    pub state_dir: Option<PathBuf>,
    /// Where the admin port is, if there is one.
    pub listen: Option<SocketAddr>,
    /// How long the ending may take.
    pub drain_timeout: Duration,
    /// Whether to end once everything is shipped.
    pub once: bool,
    /// What the user should know about these settings.
    pub warnings: Vec<String>,
}

/// Settings that cannot be used: all that is wrong with them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid settings: {}", .0.join("; "))]
pub struct InvalidSettings(pub Vec<String>);

impl Settings {
    /// Makes settings of the command line, or says everything that is wrong with it.
    pub fn new(args: &RunArgs) -> Result<Self, InvalidSettings> {
        let mut faults = Vec::new();
        let include = match args.include.as_slice() {
            [] => vec![DEFAULT_INCLUDE.to_owned()],
            given => given.to_vec(),
        };
        let include = globs("--include", &include, &mut faults);
        let exclude = globs("--exclude", &args.exclude, &mut faults);
        let batch_bytes = size("--batch-bytes", &args.batch_bytes, 1 << 10, 64 << 20, &mut faults);
        let max_line = size("--max-line", &args.max_line, 64, 16 << 20, &mut faults);
        let batch_wait = duration("--batch-wait", &args.batch_wait, &mut faults);
        let max_age = duration("--max-age", &args.max_age, &mut faults);
        let drain_timeout = duration("--drain-timeout", &args.drain_timeout, &mut faults);
        let zone = TimeZone::get(&args.timezone).unwrap_or_else(|error| {
            faults
                .push(format!("--timezone {:?}: {error}; expected an IANA name such as Europe/Berlin", args.timezone));
            TimeZone::UTC
        });
        let labels = Labels::parse(&args.label).unwrap_or_else(|errors| {
            faults.extend(errors.iter().map(|error| format!("--label: {error}")));
            Labels::default()
        });
        let url = url(&args.loki_url, &mut faults);
        let mut warnings = Vec::new();
        let token_file = args.token_file.clone().filter(|_| {
            let plaintext = url.scheme_str() == Some("http") && !args.allow_plaintext_token;
            if plaintext {
                warnings.push(
                    "--loki-url is plain http, so the token is not sent; --allow-plaintext-token would send it"
                        .to_owned(),
                );
            }
            !plaintext
        });
        if args.state_dir.is_none() {
            warnings.push("without --state-dir positions are not kept: a restart ships everything again".to_owned());
        }
        let discovery = Discovery::new(args.log_dir.clone(), &include, &exclude);
        match discovery {
            Ok(discovery) if faults.is_empty() => Ok(Self {
                discovery,
                tail: TailSettings { batch_bytes, batch_wait, max_line, max_age, zone, labels },
                push: PushSettings { url, token_file, ca_files: args.ca_file.clone(), rate_limit: None },
                state_dir: args.state_dir.clone(),
                listen: args.listen,
                drain_timeout,
                once: args.once,
                warnings,
            }),
            discovery => {
                faults.extend(discovery.err().map(|error| format!("--include or --exclude: {error}")));
                Err(InvalidSettings(faults))
            }
        }
    }
}

fn globs(flag: &str, patterns: &[String], faults: &mut Vec<String>) -> Vec<Glob> {
    let mut globs = Vec::new();
    for pattern in patterns {
        match GlobBuilder::new(pattern).literal_separator(true).build() {
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
    given.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_else(|| {
        faults.push(format!("{flag} {given:?}: expected a duration such as 500ms, 30s or 168h"));
        Duration::ZERO
    })
}

fn url(given: &str, faults: &mut Vec<String>) -> Uri {
    match given.parse::<Uri>() {
        Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() => return url,
        _ => faults.push(format!(
            "--loki-url {given:?}: expected the full push URL, such as https://loki:3100/loki/api/v1/push"
        )),
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
        let Command::Run(args) = Args::try_parse_from(line).unwrap().command;
        Settings::new(&args)
    }

    #[test]
    fn a_loki_on_a_laptop_needs_two_flags() {
        let settings = settings(&["--log-dir=/tmp", "--loki-url=http://localhost:3100/loki/api/v1/push"]).unwrap();
        assert_eq!(settings.tail.batch_bytes, 1 << 20);
        assert_eq!(settings.tail.max_age, Duration::from_hours(168));
    }

    #[test]
    fn never_sends_a_token_in_plain_text_unless_told_to() {
        let plain = ["--loki-url=http://loki/push", "--token-file=/token"];
        assert_eq!(settings(&plain).unwrap().push.token_file, None);
        let told = ["--loki-url=http://loki/push", "--token-file=/token", "--allow-plaintext-token"];
        assert!(settings(&told).unwrap().push.token_file.is_some());
    }

    #[test]
    fn reports_every_fault_together() {
        let InvalidSettings(faults) = settings(&[
            "--loki-url=loki:3100",
            "--batch-bytes=many",
            "--batch-wait=soon",
            "--label=a-b=c",
            "--include=[",
            "--timezone=Mars/Olympus",
        ])
        .unwrap_err();
        assert_eq!(faults.len(), 6, "{faults:#?}");
    }
}
