//! Our own receiver of pushes. It stores entries as Loki does, and checks every promise of the shipper more strictly than Loki.
//!
//! A broken promise is a fault, which the test reads at the end. The promises: a valid request, one stream a push, timestamps
//! that rise within a push, one text for each timestamp of a stream, and no new entry behind the newest one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum_server::Handle;
use redis_log_shipper::push::decode::{PushedStream, decode};
use tokio::sync::Notify;

use crate::free_port;
use crate::store::{Entry, Stored};

const BODY_LIMIT: usize = 16 << 20;
const CONTENT_TYPE: &str = "application/x-protobuf";

/// A receiver. It is down between [`Receiver::stop`] and [`Receiver::restart`].
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    handle: Handle<SocketAddr>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Inner>,
    arrived: Notify,
    go: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    streams: BTreeMap<String, Stream>,
    faults: Vec<String>,
    holding: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// By timestamp, which is unique in a stream.
    entries: BTreeMap<i64, String>,
    resent: u64,
}

impl Receiver {
    /// Listens on loopback. No other test gets its port while it is down.
    pub async fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (address, handle) = serve(SocketAddr::from(([127, 0, 0, 1], free_port()?)), shared.clone()).await?;
        Ok(Self { address, shared, handle })
    }

    /// Its address, such as `http://127.0.0.1:3100`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and accepts no more.
    pub fn stop(&mut self) {
        self.handle.shutdown();
    }

    /// Listens again, at the same address.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        (self.address, self.handle) = serve(self.address, self.shared.clone()).await?;
        Ok(())
    }

    /// Delays the answers to pushes from now on, until [`Receiver::let_through`].
    pub fn hold(&self) {
        self.shared.lock().holding = true;
    }

    /// Waits until the answer to a push is delayed.
    pub async fn holds_one(&self) {
        self.shared.arrived.notified().await;
    }

    /// Answers the delayed pushes, and delays no more.
    pub fn let_through(&self) {
        self.shared.lock().holding = false;
        self.shared.go.notify_waiters();
    }

    /// The stored entries of all streams with these labels.
    pub fn stored(&self, labels: &[(&str, &str)]) -> Stored {
        let state = self.shared.lock();
        let wanted: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let chosen = state.streams.iter().filter(|(labels, _)| wanted.iter().all(|pair| labels.contains(pair)));
        let mut stored = Stored::default();
        for (labels, stream) in chosen {
            stored.resent += stream.resent;
            stored.entries.extend(stream.entries.iter().map(|(time, text)| Entry {
                time: *time,
                text: text.clone(),
                labels: labels.clone(),
            }));
        }
        stored.entries.sort();
        stored
    }

    /// A sentence for each promise that a push broke.
    pub fn faults(&self) -> Vec<String> {
        self.shared.lock().faults.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Stores a stream of a push and checks it.
    fn store(&mut self, pushed: PushedStream) {
        let Self { streams, faults, .. } = self;
        let labels = pushed.labels;
        let stream = streams.entry(labels.clone()).or_default();
        if pushed.entries.is_sorted_by(|(before, _), (after, _)| before < after) {
            let mut newest = stream.entries.last_key_value().map(|(time, _)| *time);
            for (time, text) in pushed.entries {
                match stream.entries.get(&time) {
                    Some(stored) if *stored == text => stream.resent += 1,
                    Some(stored) => faults.push(format!("{labels}: {time} is the time of {stored:?} and of {text:?}")),
                    None if newest.is_some_and(|newest| time < newest) => {
                        faults.push(format!("{labels}: {text:?} at {time} came after {newest:?}"));
                    }
                    None => {
                        stream.entries.insert(time, text);
                        newest = Some(time);
                    }
                }
            }
        } else {
            faults.push(format!("{labels}: the times of a push do not rise"));
        }
    }
}

async fn serve(address: SocketAddr, shared: Arc<Shared>) -> anyhow::Result<(SocketAddr, Handle<SocketAddr>)> {
    let routes = Router::new()
        .route("/loki/api/v1/push", post(push))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared);
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let server = axum_server::from_tcp(listener)?.handle(handle.clone());
    tokio::spawn(server.serve(routes.into_make_service()));
    let address = handle.listening().await.context("the receiver does not listen")?;
    Ok((address, handle))
}

async fn push(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let held = {
        let mut state = shared.lock();
        let refuse = |status, fault: String| (status, fault);
        if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != CONTENT_TYPE) {
            let fault = format!("a push that is no {CONTENT_TYPE}");
            state.faults.push(fault.clone());
            return Err(refuse(StatusCode::BAD_REQUEST, fault));
        }
        let mut streams = decode(&body).map_err(|error| {
            state.faults.push(error.to_string());
            refuse(StatusCode::BAD_REQUEST, error.to_string())
        })?;
        match (streams.pop(), streams.len()) {
            (Some(stream), 0) if !stream.entries.is_empty() => state.store(stream),
            // `check` sends an empty push to learn whether it may push.
            (None, _) => return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, "no stream".to_owned())),
            _ => state.faults.push("a push of several streams, or of none with an entry".to_owned()),
        }
        state.holding.then(|| shared.go.notified())
    };
    if let Some(held) = held {
        shared.arrived.notify_one();
        held.await;
    }
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Push = &'static [(i64, &'static str)];

    fn after(pushes: &[Push]) -> Inner {
        let mut inner = Inner::default();
        for entries in pushes {
            let entries: Vec<_> = entries.iter().map(|(time, text)| (*time, (*text).to_owned())).collect();
            let metadata = vec![Vec::new(); entries.len()];
            inner.store(PushedStream { labels: "{}".to_owned(), entries, metadata });
        }
        inner
    }

    #[test]
    fn stores_a_resend_once_and_counts_it() {
        let inner = after(&[&[(1, "a"), (2, "b")], &[(2, "b"), (3, "c")]]);
        assert!(inner.faults.is_empty(), "{:?}", inner.faults);
        let stream = &inner.streams["{}"];
        assert_eq!((stream.entries.len(), stream.resent), (3, 1));
    }

    #[test]
    fn notes_every_promise_that_a_push_breaks() {
        let broken: [(&[Push], &str); 4] = [
            (&[&[(2, "b"), (1, "a")]], "do not rise"),
            (&[&[(1, "a"), (1, "b")]], "do not rise"),
            (&[&[(1, "a")], &[(1, "b")]], "is the time of"),
            (&[&[(1, "a"), (3, "c")], &[(2, "b")]], "came after"),
        ];
        for (pushes, fault) in broken {
            let faults = after(pushes).faults;
            assert!(matches!(&faults[..], [one] if one.contains(fault)), "{pushes:?}: {faults:?}");
        }
    }
}
