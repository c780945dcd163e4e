//! HTTPS around the admission: `POST /mutate`, and nothing else.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Answer};
use crate::config::Config;
use crate::metrics::Metrics;

/// Two objects of 3 MB, the most the API server sends, with room for the envelope.
const BODY_LIMIT: usize = 7 << 20;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests that have begun may go on after the shutdown.
const DRAIN: Duration = Duration::from_secs(15);

/// What the handler works with.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The configuration in force; swapped as a whole.
    pub config: Arc<ArcSwap<Config>>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Serves `POST /mutate` on `listener` until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    tls: rustls::ServerConfig,
    webhook: Webhook,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let ending = handle.clone();
    let mut server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls)))?
        .map(|acceptor| acceptor.handshake_timeout(HANDSHAKE_TIMEOUT))
        .handle(handle);
    server.http_builder().http1().keep_alive(true);
    let app = router(webhook).into_make_service();
    let drained = async move {
        shutdown.cancelled().await;
        ending.graceful_shutdown(Some(DRAIN));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = server.serve(app) => ended,
        () = drained => Ok(()),
    }
}

fn router(webhook: Webhook) -> Router {
    Router::new().route("/mutate", post(mutate)).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(webhook)
}

async fn mutate(State(webhook): State<Webhook>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_json(&headers) {
        webhook.metrics.refused();
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json\n").into_response();
    }
    let started = Instant::now();
    let config = webhook.config.load();
    match admission::review(&body, &config) {
        Ok(answer) => {
            let took = started.elapsed();
            webhook.metrics.answered(answer.verdict.outcome(), answer.dry_run, took);
            log(&answer, took);
            axum::Json(answer.review()).into_response()
        }
        Err(error) => {
            webhook.metrics.refused();
            tracing::warn!(error = &error as &dyn std::error::Error, "refused a request");
            (StatusCode::BAD_REQUEST, format!("{}\n", chain(&error))).into_response()
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// One line a review, without the object.
fn log(answer: &Answer, took: Duration) {
    let (uid, outcome) = (&answer.response.uid, answer.verdict.outcome());
    let (namespace, pod) = (answer.namespace.as_deref().unwrap_or_default(), &answer.name);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (dry_run, patch_bytes) = (answer.dry_run, answer.patch_bytes);
    if let admission::Verdict::Failed(error) = &answer.verdict {
        tracing::error!(uid, namespace, pod, outcome, error, dry_run, micros, "reviewed");
    } else {
        tracing::info!(uid, namespace, pod, outcome, dry_run, patch_bytes, micros, "reviewed");
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
