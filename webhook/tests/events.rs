//! What the owners of pods are told, and at which pace.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use prometheus_client::registry::Registry;
use redis_log_webhook::admission::{Answer, review};
use redis_log_webhook::config::Config;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// An API server that takes Events, as far as one is needed to see when which come: only a clock that stands still shows
/// the pace. What a real one makes of them, the end-to-end tests see.
fn client() -> (kube::Client, UnboundedReceiver<(Instant, Value)>) {
    let (seen, events) = unbounded_channel();
    let create = async move |axum::Json(event): axum::Json<Value>| {
        seen.send((Instant::now(), event.clone())).unwrap();
        axum::Json(event)
    };
    (kube::Client::new(Router::new().route("/api/v1/namespaces/redis/events", post(create)), "redis"), events)
}

/// The answer for a fixture whose pod was changed by `change`.
fn answer(fixture: &str, change: impl FnOnce(&mut Value)) -> Answer {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{fixture}.pod.yaml"));
    let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut pod);
    let request = json!({
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "redis", "operation": "CREATE", "object": pod,
    });
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    review(body.to_string().as_bytes(), &Config::default()).unwrap()
}

fn dropped(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text.lines().find(|line| line.starts_with("redis_log_webhook_events_dropped_total")).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn at_most_five_a_second_reach_the_api_server() {
    let (client, mut seen) = client();
    let metrics = Metrics::register(&mut Registry::default());
    let (events, queue) = Events::new(metrics);
    tokio::spawn(queue.send(client));
    for _ in 0..10 {
        events.tell(&answer("a-vanilla", |_| {}));
    }
    let mut last: Option<Instant> = None;
    for _ in 0..10 {
        let (at, _) = tokio::time::timeout(Duration::from_mins(1), seen.recv()).await.expect("too few").unwrap();
        assert!(last.is_none_or(|last| at - last >= Duration::from_millis(200)));
        last = Some(at);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_dropped_and_counted_and_nobody_waits() {
    let (client, mut seen) = client();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (events, queue) = Events::new(metrics);
    for _ in 0..200 {
        events.tell(&answer("a-vanilla", |_| {}));
    }
    assert_eq!(dropped(&registry), "redis_log_webhook_events_dropped_total 72");
    drop(events);
    queue.send(client).await;
    let mut count = 0;
    while seen.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 128);
}

#[tokio::test(start_paused = true)]
async fn says_what_became_of_the_pod_to_the_object_that_manages_it() {
    let (client, mut seen) = client();
    let (events, queue) = Events::new(Metrics::register(&mut Registry::default()));
    let unowned = |pod: &mut Value| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    for answer in [
        answer("a-vanilla", |_| {}),
        answer("c-ephemeral", |_| {}),
        answer("d-openshift-existing-alloy", |_| {}),
        answer("e1-operator", |_| {}),
        answer("a-vanilla", unowned),
    ] {
        events.tell(&answer);
    }
    drop(events);
    queue.send(client).await;
    let mut told = Vec::new();
    while let Ok((_, event)) = seen.try_recv() {
        assert_eq!(event["involvedObject"]["kind"], "StatefulSet");
        assert_eq!(event["involvedObject"]["namespace"], event["metadata"]["namespace"]);
        told.push(format!("{} {}", event["type"].as_str().unwrap(), event["reason"].as_str().unwrap()));
    }
    assert_eq!(
        told,
        [
            "Normal LogShipperInjected",
            "Warning LogShipperNotInjected",
            "Warning LogShipperWarning",
            "Normal LogShipperInjected"
        ]
    );
}
