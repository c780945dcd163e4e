//! Sends the review of a Redis Enterprise pod over HTTPS to a webhook on loopback.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use base64::Engine as _;
use certs::{Authority, ServingCert};
use harness::review::review_of;
use harness::{http, pod_fixture};
use prometheus_client::registry::Registry;
use redis_log_webhook::cluster::asking::Asking;
use redis_log_webhook::cluster::knowledge::Knowledge;
use redis_log_webhook::config::Config;
use redis_log_webhook::connections::Limits;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use redis_log_webhook::offline::render::diff;
use redis_log_webhook::server::{Webhook, serve};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::terminal::Terminal;

const LIFETIME: Duration = Duration::from_hours(1);

/// Starts a webhook, sends it the pod and returns the injected pod.
pub(crate) async fn inject(push_url: &str, terminal: &Terminal) -> anyhow::Result<Value> {
    terminal.title("1. A Redis Enterprise pod is created in a labelled namespace; the API server asks the webhook");
    let ca = Authority::new("demo CA", LIFETIME)?;
    let dir = tempfile::tempdir()?;
    let pair = ca.serving(&["localhost"], LIFETIME)?;
    std::fs::write(dir.path().join(certs::CERT_FILE), pair.cert)?;
    std::fs::write(dir.path().join(certs::KEY_FILE), pair.key)?;
    let tls = ServingCert::read(dir.path())?.server_config()?;
    let metrics = Metrics::register(&mut Registry::default());
    let config = Config { loki_url: push_url.to_owned(), ..Config::default() };
    let shutdown = CancellationToken::new();
    let webhook = Webhook {
        config: Arc::new(ArcSwap::from_pointee(config)),
        events: Events::nowhere(metrics.clone()),
        asking: Asking::default(),
        knowledge: Knowledge::default(),
        metrics,
        leaving: shutdown.clone(),
    };
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("https://localhost:{}/mutate?timeout=5s", listener.local_addr()?.port());
    let server = tokio::spawn(serve(listener, tls, Limits::default(), webhook, shutdown.clone()));

    let pod = pod_fixture("b-openshift")?;
    let answer = review(&url, ca.cert(), &pod).await?;
    shutdown.cancel();
    server.abort();

    let response = answer.get("response").context("an answer without a response")?;
    let outcome = response.pointer("/auditAnnotations/outcome").and_then(Value::as_str).unwrap_or_default();
    terminal.line(&format!("   POST {url}"));
    terminal.good(&format!("   allowed: {}, outcome: {outcome}", response["allowed"]));
    for warning in response["warnings"].as_array().into_iter().flatten() {
        terminal.bad(&format!("   warning: {warning}"));
    }
    let patch = response["patch"].as_str().context("an answer without a patch")?;
    let patch: json_patch::Patch = serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(patch)?)?;
    let mut injected = pod.clone();
    json_patch::patch(&mut injected, &patch)?;
    terminal.line(&format!("   {} operations, all of them additions:", patch.0.len()));
    terminal.diff(&diff(&pod, &injected)?);
    Ok(injected)
}

async fn review(url: &str, ca: &str, pod: &Value) -> anyhow::Result<Value> {
    let (status, body) = http::post_json(&http::client(Some(ca))?, url, &review_of(pod)).await?;
    ensure!(status.is_success(), "the webhook said {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}
