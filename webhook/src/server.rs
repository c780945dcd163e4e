//! The HTTPS server around admission, with the path `POST /mutate` and no other.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use crate::admission::names::cut;
use crate::admission::surroundings::Identity;
use crate::admission::{self, Answer, Verdict};
use crate::bodies::{Bodies, Refusal, Whole};
use crate::cluster::asking::Asking;
use crate::cluster::knowledge::Knowledge;
use crate::config::Config;
use crate::connections::{Connections, Limits};
use crate::events::Events;
use crate::metrics::Metrics;
use runtime::chain;

/// Concurrent requests on one HTTP/2 connection. An API server opens another connection for more.
const STREAMS: u32 = 16;
/// How many bytes of bodies a peer may send over HTTP/2 before we read them: of one request, and of all requests of a
/// connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;
/// The limit for the head of a request. An API server sends a few hundred bytes.
const HEAD_BYTES: u32 = 8 << 10;
/// The size of the read buffer for HTTP/1.
const READ_BYTES: usize = 16 << 10;
/// How many characters of an error are logged and answered. It may quote the request.
const MOST_QUOTED: usize = 500;
/// The interval of pings on HTTP/2, and the timeout for their answers.
const PING: Duration = Duration::from_secs(5);
/// The deadline if the API server names none. This is its own default.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest deadline that Kubernetes allows.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long running requests may take after the shutdown.
const DRAIN: Duration = Duration::from_secs(15);

/// What the handler needs.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The current configuration.
    pub config: Arc<ArcSwap<Config>>,
    /// The metrics.
    pub metrics: Metrics,
    /// The Events for owners.
    pub events: Events,
    /// The questions whether new pods may push.
    pub asking: Asking,
    /// What is known about new pods.
    pub knowledge: Knowledge,
    /// Cancelled when this process shuts down. Clients are then asked to use another connection for their next request.
    pub leaving: CancellationToken,
}

/// Serves `POST /mutate` on `listener` until `shutdown`, then finishes the running requests.
pub async fn serve(
    listener: TcpListener,
    tls: rustls::ServerConfig,
    limits: Limits,
    webhook: Webhook,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let handle = Handle::new();
    let ending = handle.clone();
    let connections = Connections::new(RustlsConfig::from_config(Arc::new(tls)), &limits, webhook.metrics.clone());
    let mut server = axum_server::from_tcp(listener)?.acceptor(connections).handle(handle);
    server = server.first_request_timeout(limits.first_request);
    let http = server.http_builder();
    // hyper counts from the end of the previous answer. So this is also the limit for an idle connection.
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(READ_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_BYTES);
    let state = (webhook, Bodies::new(limits.body_bytes));
    let app = Router::new().route("/mutate", post(mutate)).with_state(state).into_make_service();
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

async fn mutate(
    State((webhook, bodies)): State<(Webhook, Bodies)>,
    RawQuery(parameters): RawQuery,
    version: Version,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut response = answer(&webhook, &bodies, parameters.as_deref().unwrap_or_default(), &headers, body).await;
    // A Service that drops this process from its endpoints closes no connection. HTTP/2 has its own message for this, which
    // is sent at the shutdown.
    if webhook.leaving.is_cancelled() && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(webhook: &Webhook, bodies: &Bodies, parameters: &str, headers: &HeaderMap, body: Body) -> Response {
    let started = Instant::now();
    let budget = budget(parameters);
    let body = match whole_body(bodies, headers, body, budget).await {
        Ok(body) => body,
        Err((status, why)) => {
            webhook.metrics.refused();
            tracing::warn!(%status, why, "refused a request");
            return (status, format!("{why}\n")).into_response();
        }
    };
    let config = webhook.config.load_full();
    let known = |namespace: Option<&str>, identity: Option<&Identity>| {
        webhook.knowledge.surroundings(namespace, identity, &config)
    };
    match admission::review_among(&body.bytes, &config, || started.elapsed() < budget, known) {
        Ok(answer) => {
            let took = started.elapsed();
            webhook.metrics.answered(&answer, took);
            log(&answer, took);
            webhook.knowledge.answered(&answer, &config);
            if !answer.dry_run {
                webhook.events.notify(&answer);
                webhook.asking.ask(&answer);
            }
            axum::Json(answer.review()).into_response()
        }
        Err(error) => {
            webhook.metrics.refused();
            let error = cut(&chain(&error), MOST_QUOTED);
            tracing::warn!(error, "refused a request");
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
    }
}

/// Reads the body, if it is JSON, not too large, and arrives in time.
async fn whole_body(bodies: &Bodies, headers: &HeaderMap, body: Body, within: Duration) -> Result<Whole, Refusal> {
    if !is_json(headers) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid Content-Type: expected application/json"));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    bodies.read(body, announced, within).await
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The part of the API server's deadline that may be used. A fifth is left for the way back.
fn budget(parameters: &str) -> Duration {
    let deadline = parameters
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("timeout="))
        .and_then(|timeout| timeout.parse::<jiff::SignedDuration>().ok())
        .and_then(|timeout| Duration::try_from(timeout).ok())
        .unwrap_or(DEFAULT_DEADLINE);
    deadline.min(LONGEST_DEADLINE) * 4 / 5
}

/// The length of a UUID. Every `uid` of an API server is one.
const UID_CHARS: usize = 36;

/// Logs one line for a review, without the object.
fn log(answer: &Answer, took: Duration) {
    let (uid, outcome) = (cut(&answer.response.uid, UID_CHARS), answer.verdict.outcome());
    let (namespace, pod) = (answer.namespace.as_deref().unwrap_or_default(), &answer.name);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (dry_run, patch_bytes, warnings) = (answer.dry_run, answer.patch_bytes, answer.response.warnings.len());
    if let Verdict::Failed(error) | Verdict::Panicked(error) = &answer.verdict {
        tracing::error!(uid, namespace, pod, outcome, error, dry_run, micros, "reviewed");
    } else {
        tracing::info!(uid, namespace, pod, outcome, dry_run, patch_bytes, warnings, micros, "reviewed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_a_fifth_of_the_deadline_and_never_takes_longer_than_the_longest() {
        for (timeout, expected) in [
            ("timeout=5s", 4000),
            ("x=1&timeout=500ms", 400),
            ("timeout=1m0s", 24_000),
            ("timeout=soon", 8000),
            ("timeout=-1s", 8000),
            ("", 8000),
        ] {
            assert_eq!(budget(timeout), Duration::from_millis(expected), "{timeout:?}");
        }
    }

    #[test]
    fn takes_json_with_parameters_and_nothing_else() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        assert!(of("application/json") && of("application/json; charset=utf-8") && of("Application/JSON ;x=y"));
        assert!(!of("text/plain") && !of("application/jsonp") && !is_json(&HeaderMap::new()));
    }
}
