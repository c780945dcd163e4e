//! The admin port: `/live`, `/ready` and `/metrics`, and any further routes of the process.
//!
//! It decides nothing. The process sets its own readiness, which is false at first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::places::{Place, Places};

/// The limit for connections. They must not use up the descriptors and the memory that the process needs.
const CONNECTIONS: usize = 32;
/// The timeout for the head of a request, and for the next request on a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is closed after this time, even if it is in use. A collector that scrapes twice a minute opens a new one.
const LIFETIME: Duration = Duration::from_mins(1);
/// The buffer for the head of a request. hyper allows no smaller one.
const HEADER_BYTES: usize = 8 << 10;
/// How long running answers may take when the process ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The content type of the OpenMetrics text that `/metrics` answers with.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process is ready. Clones share one state, which is *not ready* at first.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the process is ready.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether the process is ready.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    registry: Arc<Registry>,
}

/// The routes of every process: `/live` (200 while it runs), `/ready` (200 or 503) and `/metrics`.
pub fn routes(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/live", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { readiness, registry })
}

/// Serves `routes` on `listener` until `shutdown`. A new connection is always served: if all places are taken, the oldest
/// idle connection is closed. So probes are answered even if other clients hold connections open.
pub async fn serve(mut listener: TcpListener, routes: Router, shutdown: CancellationToken) {
    let places = Places::new(CONNECTIONS);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            (stream, peer) = Listener::accept(&mut listener) => {
                if let Some(place) = places.take(peer.ip()) {
                    // Plain HTTP has no handshake to wait for.
                    place.opened();
                    connections.spawn(connection(stream, routes.clone(), place, shutdown.clone()));
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, is evicted, or reaches its lifetime.
async fn connection(stream: TcpStream, routes: Router, place: Place, shutdown: CancellationToken) {
    let place = Arc::new(place);
    let answering = place.clone();
    let service = service_fn(move |request| {
        let (mut routes, place) = (routes.clone(), answering.clone());
        async move {
            let _being_answered = place.request();
            routes.call(request).await
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = std::pin::pin!(http);
    // A broken connection is the client's problem.
    tokio::select! {
        _ended = http.as_mut() => {}
        () = place.evicted() => {}
        () = tokio::time::sleep(LIFETIME) => {}
        () = shutdown.cancelled() => {
            http.as_mut().graceful_shutdown();
            let _ended = tokio::time::timeout(LAST_ANSWERS, http).await;
        }
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.readiness.get() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    /// An open admin port. Cancelling the token closes it.
    async fn open() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = routes(Readiness::default(), Arc::new(Registry::default()));
        tokio::spawn(serve(listener, routes, shutdown.clone()));
        (address, shutdown)
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_probes_while_others_hold_connections_open() {
        let (address, _shutdown) = open().await;
        let mut idle = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
            assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        }
        assert!(get(address, "/metrics").await.contains("# EOF"));
        // The oldest one was evicted.
        assert_eq!(idle[0].read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn gives_the_head_of_a_request_five_seconds() {
        for sent in ["", "GET /live HT", "GET /live HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let (address, _shutdown) = open().await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            if sent.ends_with("\r\n\r\n") {
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            }
            tokio::time::pause();
            let start = Instant::now();
            while stream.read(&mut [0; 4096]).await.unwrap() > 0 {}
            assert!(start.elapsed() <= HEADER_TIMEOUT + Duration::from_millis(1), "{sent:?}: {:?}", start.elapsed());
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn ends_at_the_shutdown_despite_open_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = routes(Readiness::default(), Arc::new(Registry::default()));
        let serving = tokio::spawn(serve(listener, routes, shutdown.clone()));
        let _idle = TcpStream::connect(address).await.unwrap();
        assert!(get(address, "/live").await.starts_with("HTTP/1.1 200"));
        shutdown.cancel();
        tokio::time::timeout(LIFETIME, serving).await.unwrap().unwrap();
    }
}
