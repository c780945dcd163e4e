//! Where the demo ships to: an embedded receiver that stores entries as Loki does, or a real Loki.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use harness::loki::Query;
use redis_log_shipper::decode::decode;

/// Streams by their labels, entries by time and line: a resend of the same entry is the same entry.
type Streams = BTreeMap<String, BTreeSet<(i64, String)>>;

/// What is pushed to, and asked afterwards.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The full push URL.
    pub(crate) push_url: String,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Embedded(Arc<Mutex<Streams>>),
    Loki(Box<Query>),
}

impl Receiver {
    /// A receiver on loopback.
    pub(crate) async fn embedded() -> anyhow::Result<Self> {
        let streams = Arc::new(Mutex::new(Streams::new()));
        let routes = Router::new().route("/loki/api/v1/push", post(push)).with_state(streams.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let push_url = format!("http://{}/loki/api/v1/push", listener.local_addr()?);
        tokio::spawn(async { axum::serve(listener, routes).await });
        Ok(Self { push_url, store: Store::Embedded(streams) })
    }

    /// The Loki with this push URL.
    pub(crate) fn real(push_url: &str) -> anyhow::Result<Self> {
        let base = push_url.strip_suffix("/loki/api/v1/push").context("--loki-url must end in /loki/api/v1/push")?;
        Ok(Self { push_url: push_url.to_owned(), store: Store::Loki(Box::new(Query::new(base)?)) })
    }

    /// The lines of the streams that have all these labels, oldest first, those of one entry in a row.
    pub(crate) async fn lines(&self, labels: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        match &self.store {
            Store::Embedded(streams) => Ok(selected(&streams.lock().unwrap_or_else(PoisonError::into_inner), labels)),
            Store::Loki(query) => query.lines(&selector(labels)).await,
        }
    }
}

/// Labels as LogQL selects by them.
pub(crate) fn selector(labels: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn selected(streams: &Streams, labels: &[(&str, &str)]) -> Vec<String> {
    let has = |stream: &str| labels.iter().all(|(name, value)| stream.contains(&format!("{name}=\"{value}\"")));
    let mut entries: Vec<_> =
        streams.iter().filter(|(stream, _)| has(stream)).flat_map(|(_, entries)| entries).collect();
    entries.sort_by_key(|(time, _)| *time);
    entries.into_iter().flat_map(|(_, entry)| entry.split('\n')).map(ToOwned::to_owned).collect()
}

async fn push(State(streams): State<Arc<Mutex<Streams>>>, body: Bytes) -> Result<StatusCode, (StatusCode, String)> {
    let pushed = decode(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
    for stream in pushed {
        streams.entry(stream.labels).or_default().extend(stream.entries);
    }
    Ok(StatusCode::NO_CONTENT)
}
