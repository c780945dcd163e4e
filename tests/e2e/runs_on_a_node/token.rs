//! The kubelet renews the projected token before it expires, and the shipper continues with the new one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::Authority;
use harness::node::OUTSIDE;
use harness::process::eventually;
use harness::{http, say};
use http_body_util::Full;
use serde_json::{Value, json};

use super::redis::{Redis, annotate};
use super::world::{is_slow_wanted, shared};

/// The kubelet renews a token of 600 s after about 80 % of its lifetime.
const RENEWED_WITHIN: Duration = Duration::from_secs(620);
const LIFETIME: Duration = Duration::from_hours(24);

/// When a push arrived, and when its token expires, both in seconds since 1970.
type Push = (i64, i64);

/// A TLS endpoint that records tokens and forwards pushes.
struct Recorder {
    url: String,
    ca: String,
    pushes: Arc<Mutex<Vec<Push>>>,
    handle: Handle<SocketAddr>,
}

#[derive(Clone)]
struct Inner {
    to: String,
    pushes: Arc<Mutex<Vec<Push>>>,
}

impl Recorder {
    async fn start(to: String) -> anyhow::Result<Self> {
        let ca = Authority::new("recorder", LIFETIME)?;
        let pair = ca.serving(&[OUTSIDE], LIFETIME)?;
        let tls = RustlsConfig::from_pem(pair.cert.into_bytes(), pair.key.into_bytes()).await?;
        let pushes = Arc::new(Mutex::new(Vec::new()));
        let inner = Inner { to, pushes: pushes.clone() };
        let listener = std::net::TcpListener::bind((OUTSIDE, 0))?;
        listener.set_nonblocking(true)?;
        let handle = Handle::new();
        let routes = Router::new().route("/push", post(push)).with_state(inner);
        let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
        tokio::spawn(server.serve(routes.into_make_service()));
        let address = handle.listening().await.context("the recorder does not listen")?;
        Ok(Self { url: format!("https://{address}/push"), ca: ca.cert().to_owned(), pushes, handle })
    }
}

async fn push(State(inner): State<Inner>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(expires) = expiry(&headers) else { return StatusCode::UNAUTHORIZED };
    let mut request = hyper::Request::post(&inner.to);
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let passed = async { http::send(&http::client(None)?, request.body(Full::from(body))?).await };
    match passed.await {
        Ok((status, _)) => {
            inner.pushes.lock().unwrap().push((jiff::Timestamp::now().as_second(), expires));
            status
        }
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// When the token of a push expires.
fn expiry(headers: &HeaderMap) -> Option<i64> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?["exp"].as_i64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_without_a_gap_when_the_kubelet_renews_the_token() {
    if !is_slow_wanted("token") {
        return;
    }
    let Some(world) = shared().await else { return };
    let recorder = Recorder::start(world.receiver.push_url()).await.unwrap();
    let cluster = world.node.cluster().await.unwrap();
    let metadata = json!({"name": "renewed"});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await.unwrap();
    let ca = json!({"service-ca.crt": recorder.ca});
    cluster.create_config_map("renewed", "openshift-service-ca.crt", &ca).await.unwrap();
    let redis = Redis::start(&world, "renewed", |set| annotate(set, "loki-url", &recorder.url)).await.unwrap();
    let tokens = || {
        let mut tokens: Vec<_> = recorder.pushes.lock().unwrap().iter().map(|(_, expires)| *expires).collect();
        tokens.dedup();
        tokens
    };
    eventually("a push with a new token", RENEWED_WITHIN, || async { Ok((tokens().len() > 1).then_some(())) })
        .await
        .unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    let pushes = recorder.pushes.lock().unwrap().clone();
    let late: Vec<_> = pushes.iter().filter(|(at, expires)| at >= expires).collect();
    assert!(late.is_empty(), "pushes with a token that had expired: {late:?}");
    let gap = pushes.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    say(&format!(
        "{} pushes, tokens expire at {:?}, the longest gap between two pushes is {gap} s",
        pushes.len(),
        tokens()
    ));
    recorder.handle.shutdown();
    redis.remove();
}
