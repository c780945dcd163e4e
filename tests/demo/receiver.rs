//! The demo's store: the tests' own receiver, which stores entries as Loki does, or a real Loki.

use anyhow::Context as _;
use harness::loki::Query;
use harness::store::{Store, selector};

/// The store for pushes and queries.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The full push URL.
    pub(crate) push_url: String,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Embedded(Store),
    Loki(Box<Query>),
}

impl Receiver {
    /// A receiver on loopback.
    pub(crate) async fn embedded() -> anyhow::Result<Self> {
        let store = Store::receiver().await?;
        Ok(Self { push_url: store.push_url(), target: Target::Embedded(store) })
    }

    /// The Loki with this push URL.
    pub(crate) fn real(push_url: &str) -> anyhow::Result<Self> {
        let base = push_url.strip_suffix("/loki/api/v1/push").context("--loki-url must end in /loki/api/v1/push")?;
        Ok(Self { push_url: push_url.to_owned(), target: Target::Loki(Box::new(Query::new(base)?)) })
    }

    /// The lines of all streams with these labels, oldest entry first.
    pub(crate) async fn lines(&self, labels: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        match &self.target {
            Target::Embedded(store) => Ok(store.stored(labels).await?.lines()),
            Target::Loki(query) => query.lines(&selector(labels)).await,
        }
    }
}
