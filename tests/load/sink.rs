//! Accepts every push over TLS and discards it.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use certs::Authority;
use futures::StreamExt as _;

const LIFETIME: std::time::Duration = std::time::Duration::from_hours(24);

/// A running sink. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The full push URL.
    pub(crate) url: String,
    /// The CA of its certificate, as PEM.
    pub(crate) ca: String,
    handle: Handle<SocketAddr>,
}

impl Sink {
    /// Starts a sink on a free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let ca = Authority::new("sink CA", LIFETIME)?;
        let pair = ca.serving(&["localhost"], LIFETIME)?;
        let tls = RustlsConfig::from_pem(pair.cert.into_bytes(), pair.key.into_bytes()).await?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let handle = Handle::new();
        let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
        let routes = Router::new().route("/loki/api/v1/push", post(swallow));
        tokio::spawn(server.serve(routes.into_make_service()));
        let address = handle.listening().await.context("the sink does not listen")?;
        let url = format!("https://localhost:{}/loki/api/v1/push", address.port());
        Ok(Self { url, ca: ca.cert().to_owned(), handle })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn swallow(body: Body) -> StatusCode {
    let mut body = body.into_data_stream();
    while let Some(part) = body.next().await {
        if part.is_err() {
            return StatusCode::BAD_REQUEST;
        }
    }
    StatusCode::NO_CONTENT
}
