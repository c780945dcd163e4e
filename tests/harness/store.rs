//! A store of pushes: a real Loki, a real VictoriaLogs, or our own strict receiver.
//!
//! The same scenario runs on each. Loki and the receiver store a resend once, VictoriaLogs stores it twice. So this module
//! counts resends, and shows a resent entry once if stream, timestamp and text are identical.

use std::path::Path;

use crate::loki::Loki;
use crate::receiver::Receiver;
use crate::victoria_logs::VictoriaLogs;

/// An entry as a store shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// In nanoseconds since 1970 UTC.
    pub time: i64,
    /// One line or several.
    pub text: String,
    /// The labels of its stream and its structured metadata.
    pub labels: String,
}

impl Entry {
    /// The lines of it.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }
}

/// The entries of some streams in a store.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Each entry once, oldest first.
    pub entries: Vec<Entry>,
    /// How many more copies of these entries arrived. Loki counts only the copies that it stored.
    pub resent: u64,
}

impl Stored {
    /// The lines of all entries, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.entries.iter().flat_map(Entry::lines).map(ToOwned::to_owned).collect()
    }

    /// Sorts `found`, and counts identical copies instead of showing them.
    pub(crate) fn collapse(mut found: Vec<Entry>) -> Self {
        let all = found.len();
        found.sort();
        found.dedup();
        let resent = (all - found.len()) as u64;
        Self { entries: found, resent }
    }
}

/// A store. It is down between [`Store::stop`] and [`Store::restart`].
#[derive(Debug)]
pub enum Store {
    /// Ours, in this process.
    Receiver(Receiver),
    /// A real VictoriaLogs.
    VictoriaLogs(Box<VictoriaLogs>),
    /// A real Loki.
    Loki(Box<Loki>),
}

impl Store {
    /// Starts the strict receiver.
    pub async fn receiver() -> anyhow::Result<Self> {
        Ok(Self::Receiver(Receiver::start().await?))
    }

    /// Starts a VictoriaLogs and waits until it is ready.
    pub async fn victoria_logs(binary: &Path) -> anyhow::Result<Self> {
        Ok(Self::VictoriaLogs(Box::new(VictoriaLogs::start(binary).await?)))
    }

    /// Starts a Loki and waits until it is ready.
    pub async fn loki(binary: &Path) -> anyhow::Result<Self> {
        Ok(Self::Loki(Box::new(Loki::start(binary).await?)))
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Receiver(_) => "the receiver",
            Self::VictoriaLogs(_) => "VictoriaLogs",
            Self::Loki(_) => "Loki",
        }
    }

    /// The URL before `/loki/api/v1/push`.
    pub fn api(&self) -> String {
        match self {
            Self::Receiver(receiver) => receiver.url(),
            Self::VictoriaLogs(logs) => format!("{}/insert", logs.url),
            Self::Loki(loki) => loki.url.clone(),
        }
    }

    /// The full push URL.
    pub fn push_url(&self) -> String {
        format!("{}/loki/api/v1/push", self.api())
    }

    /// The entries of all streams with these labels.
    pub async fn stored(&self, labels: &[(&str, &str)]) -> anyhow::Result<Stored> {
        match self {
            Self::Receiver(receiver) => Ok(receiver.stored(labels)),
            Self::VictoriaLogs(logs) => Ok(Stored::collapse(logs.entries(&selector(labels)).await?)),
            Self::Loki(loki) => {
                let entries = loki.query().entries(&selector(labels)).await?;
                let count = format!("sum(count_over_time({}[24h]))", selector(labels));
                let stored = loki.query().number(&count).await?;
                let resent = stored.saturating_sub(entries.len() as u64);
                Ok(Stored { entries, resent })
            }
        }
    }

    /// Whether it shows this line in a stream with these labels.
    pub async fn has_line(&self, labels: &[(&str, &str)], line: &str) -> anyhow::Result<bool> {
        let (selector, quoted) = (selector(labels), format!("{line:?}"));
        let found = match self {
            Self::Receiver(receiver) => receiver.stored(labels).entries,
            Self::VictoriaLogs(logs) => logs.entries(&format!("{selector} {quoted}")).await?,
            Self::Loki(loki) => loki.query().entries(&format!("{selector} |= {quoted}")).await?,
        };
        Ok(found.iter().any(|entry| entry.lines().any(|found| found == line)))
    }

    /// Ends Loki and the receiver at once, and VictoriaLogs after it has written the acknowledged pushes.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Receiver(receiver) => receiver.stop(),
            Self::VictoriaLogs(logs) => logs.stop().await?,
            Self::Loki(loki) => loki.kill(),
        }
        Ok(())
    }

    /// Starts it again with its entries and waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Receiver(receiver) => receiver.restart().await,
            Self::VictoriaLogs(logs) => logs.restart().await,
            Self::Loki(loki) => loki.restart().await,
        }
    }

    /// A sentence for each fault in the pushes. Only the receiver checks them.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Self::Receiver(receiver) => receiver.faults(),
            Self::VictoriaLogs(_) | Self::Loki(_) => Vec::new(),
        }
    }
}

/// A selector for these labels, in LogQL and LogsQL.
pub fn selector(labels: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(", "))
}
