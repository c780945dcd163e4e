//! Follows the runtime configuration: reads it at the start, every few seconds, and on SIGHUP.
//!
//! The kubelet replaces a mounted ConfigMap through a symlink, which notifications miss. So the content is compared. An
//! invalid content changes nothing: the last valid one stays in use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::chain;
use runtime::logging::{self, LogLevel};
use runtime::words::Redact;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::Metrics;
use crate::push::RateLimit;
use crate::runtime_config::{self, RuntimeConfig};
use crate::settings::Settings;
use crate::status::{Condition, RuntimeConfigStatus, SharedStatus, findings};
use crate::tail::Adjustment;

/// How often the file is read.
const INTERVAL: Duration = Duration::from_secs(5);

/// The runtime configuration and what the flags say without it.
#[derive(Debug)]
pub(super) struct Reload {
    path: PathBuf,
    flags: Choice,
    /// The content that was read last, valid or not, or why none could be read. There is none if the file does not exist.
    seen: Option<Result<Option<Vec<u8>>, String>>,
    hangup: Option<Signal>,
    metrics: Metrics,
    status: SharedStatus,
}

/// The settings that the runtime configuration may change.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    tail: Adjustment,
    rate_limit: RateLimit,
    log_level: LogLevel,
}

/// Where changes go.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) tail: watch::Sender<Option<Adjustment>>,
    pub(super) rate_limit: watch::Sender<RateLimit>,
    /// Wakes the reader.
    pub(super) wake: Arc<Notify>,
}

/// Reads the file that the settings name once, and applies it. The commands beside `run` then read as the shipper does.
pub(crate) async fn apply_runtime_config(settings: &mut Settings) {
    if let Some(mut reload) = Reload::new(settings, Metrics::default(), SharedStatus::default()) {
        reload.apply(settings).await;
    }
}

impl Reload {
    /// Follows the file that the settings name, if they name one. From here on SIGHUP does not end the process.
    pub(super) fn new(settings: &Settings, metrics: Metrics, status: SharedStatus) -> Option<Self> {
        let path = settings.runtime_config.clone()?;
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP is not handled; the runtime configuration is polled"));
        Some(Self { path, flags: Choice::of(settings), seen: None, hangup: hangup.ok(), metrics, status })
    }

    /// Reads the file for the first time. Without a valid one, the settings stay as the flags say.
    pub(super) async fn apply(&mut self, settings: &mut Settings) {
        let Some(Choice { tail, rate_limit, log_level }) = self.changed().await else { return };
        settings.discovery = tail.discovery;
        (settings.tail.redaction, settings.tail.drop) = (tail.redaction, tail.drop);
        settings.push.rate_limit = match rate_limit {
            RateLimit::None => None,
            RateLimit::BytesPerSecond(bytes) => Some(bytes),
        };
        logging::set_level(log_level);
    }

    /// Follows the file for good.
    pub(super) async fn run(mut self, changes: Changes) {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = ticks.tick() => false,
                () = hung_up(self.hangup.as_mut()) => true,
            };
            match self.changed().await {
                Some(choice) => choice.apply(&changes),
                None if is_asked => {
                    tracing::info!(file = %self.path.display(), "SIGHUP: the runtime configuration has nothing new");
                }
                None => {}
            }
        }
    }

    /// Reads the file. Returns the settings to use from now on, if they may have changed.
    async fn changed(&mut self) -> Option<Choice> {
        let path = self.path.clone();
        // A volume that hangs must not hold up the rest.
        let read = tokio::task::spawn_blocking(move || runtime_config::read(&path)).await.ok()?;
        let read = read.map_err(|error| chain(&error));
        if self.seen.as_ref() == Some(&read) {
            return None;
        }
        let is_first = self.seen.is_none();
        match self.seen.insert(read) {
            Ok(Some(bytes)) => {
                let parsed = RuntimeConfig::parse(bytes);
                self.accepted(parsed.map_err(|error| error.faults()))
            }
            Err(error) => {
                let faults = vec![error.clone()];
                self.accepted(Err(faults))
            }
            Ok(None) if is_first => {
                self.status.runtime_config(self.standing("absent", Vec::new()));
                None
            }
            Ok(None) => {
                tracing::info!(file = %self.path.display(), "the runtime configuration is gone; the flags apply");
                self.metrics.runtime_config(true);
                self.status.condition(Condition::RuntimeConfig, None);
                self.status.runtime_config(self.standing("absent", Vec::new()));
                Some(self.flags.clone())
            }
        }
    }

    /// Reports a content of the file, or what is wrong with it. Returns the settings to use from now on.
    fn accepted(&self, parsed: Result<RuntimeConfig, Vec<String>>) -> Option<Choice> {
        let file = self.path.display();
        let chosen = parsed.and_then(|config| {
            let choice = self.flags.with(&config).map_err(|error| vec![error.to_string()])?;
            Ok((config.keys(), choice))
        });
        self.metrics.runtime_config(chosen.is_ok());
        match chosen {
            Ok((keys, choice)) => {
                tracing::info!(%file, ?keys, "the runtime configuration is in use");
                self.status.condition(Condition::RuntimeConfig, None);
                self.status.runtime_config(self.standing("in_use", Vec::new()));
                Some(choice)
            }
            Err(faults) => {
                let finding = findings::invalid_runtime_config(&self.path, &faults);
                let (code, problem, fix) = (finding.code.as_str(), &*finding.problem, &*finding.fix);
                tracing::error!(code, problem, fix, "the runtime configuration is invalid");
                self.status.condition(Condition::RuntimeConfig, Some(finding));
                self.status.runtime_config(self.standing("invalid", faults));
                None
            }
        }
    }

    fn standing(&self, state: &'static str, faults: Vec<String>) -> RuntimeConfigStatus {
        RuntimeConfigStatus { file: self.path.display().to_string(), state, faults }
    }
}

impl Choice {
    /// What the flags say.
    fn of(settings: &Settings) -> Self {
        let Settings { discovery, tail, push, log_level, .. } = settings;
        let tail =
            Adjustment { discovery: discovery.clone(), redaction: tail.redaction.clone(), drop: tail.drop.clone() };
        let rate_limit = push.rate_limit.map_or(RateLimit::None, RateLimit::BytesPerSecond);
        Self { tail, rate_limit, log_level: *log_level }
    }

    /// What `config` says, and the flags where it says nothing.
    fn with(&self, config: &RuntimeConfig) -> Result<Self, globset::Error> {
        let mut choice = self.clone();
        choice.tail.discovery = self.tail.discovery.with(config.include.as_deref(), config.exclude.as_deref())?;
        if let Some(redact) = config.redact {
            choice.tail.redaction.on = redact == Redact::On;
        }
        choice.tail.redaction.own.extend(config.redact_patterns.iter().cloned());
        choice.tail.drop = config.drop.clone().unwrap_or(choice.tail.drop);
        choice.rate_limit = config.rate_limit.unwrap_or(choice.rate_limit);
        choice.log_level = config.log_level.unwrap_or(choice.log_level);
        Ok(choice)
    }

    fn apply(self, changes: &Changes) {
        for rule in &self.tail.drop {
            tracing::info!(rule = rule.text, "entries that match this rule are dropped on purpose");
        }
        logging::set_level(self.log_level);
        changes.rate_limit.send_replace(self.rate_limit);
        changes.tail.send_replace(Some(self.tail));
        changes.wake.notify_one();
    }
}

/// Completes on SIGHUP.
async fn hung_up(hangup: Option<&mut Signal>) {
    // No further signal will come after `None`.
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    #[tokio::test]
    async fn changes_the_settings_of_a_command_as_those_of_the_shipper() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shipper.yaml");
        let text = "include: ['*.txt']\ndrop: [level=debug]\nredactPatterns: [a=b]\nrateLimit: none\n";
        std::fs::write(&file, text).unwrap();
        let file = format!("--runtime-config={}", file.display());
        let line =
            ["shipper", "run", "--loki-url=http://loki/push", "--rate-limit=1MiB", "--redact-pattern=c=d", &file];
        let Command::Run(args) = Args::parse_from(line).command else { panic!("no run") };
        let mut settings = Settings::new(&args).unwrap();
        apply_runtime_config(&mut settings).await;
        assert!(settings.discovery.is_stream("a.txt") && !settings.discovery.is_stream("a.log"));
        assert_eq!((settings.tail.drop.len(), settings.push.rate_limit), (1, None));
        // Rules for secrets are added, and none is removed.
        let names: Vec<_> = settings.tail.redaction.own.iter().map(crate::redaction::OwnRule::name).collect();
        assert_eq!((settings.tail.redaction.on, names), (true, vec!["c", "a"]));
    }
}
