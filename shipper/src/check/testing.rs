//! Settings for tests, and what checks found.

use std::path::Path;

use clap::Parser as _;
use findings::{Check, Code, Outcome};

use crate::args::{Args, Command};
use crate::settings::Settings;

/// Settings of `run` with this log directory and further flags.
pub(super) fn settings(log_dir: &Path, flags: &[&str]) -> Settings {
    let dir = log_dir.to_str().unwrap();
    let mut line = vec!["redis-log-shipper", "run", "--log-dir", dir];
    if !flags.iter().any(|flag| flag.starts_with("--loki-url")) {
        line.push("--loki-url=http://loki/loki/api/v1/push");
    }
    line.extend(flags);
    let Command::Run(args) = Args::parse_from(line).command else { unreachable!() };
    Settings::new(&args).unwrap()
}

/// The codes of the findings.
pub(super) fn findings(checks: &[Check]) -> Vec<Code> {
    let found = checks.iter().filter_map(|check| match &check.outcome {
        Outcome::Found(finding) => Some(finding.code),
        _ => None,
    });
    found.collect()
}

/// The detail of a check that passed.
pub(super) fn passed(check: &Check) -> Option<&str> {
    if let Outcome::Passed(detail) = &check.outcome { Some(detail) } else { None }
}
