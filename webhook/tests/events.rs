//! The Events for the owners of pods, and their rate.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use prometheus_client::registry::Registry;
use redis_log_webhook::admission::{Answer, review};
use redis_log_webhook::config::Config;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// The owner in the fixtures.
const UID: &str = "3f0c6f0e-6d0b-4a57-9d0e-4a4b6f0c1a10";
const SET: &str = "/apis/apps/v1/namespaces/redis/statefulsets/rec";

/// A fake API server that shows which requests come, and when: only a paused clock shows the rate. The end-to-end tests use
/// a real one.
struct Api {
    client: kube::Client,
    /// The Events that were created.
    events: UnboundedReceiver<(Instant, Value)>,
    /// The objects that were looked up.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// A fake with an opted-in namespace and the StatefulSet of the fixtures.
    fn new() -> Self {
        let label = json!({"labels": {"redis-log-shipper.io/inject": "enabled"}});
        Self::holding(vec![("/api/v1/namespaces/redis", label), (SET, json!({"uid": UID}))])
    }

    /// A fake with the metadata at these paths. A path with null is forbidden.
    fn holding(objects: Vec<(&'static str, Value)>) -> Self {
        let (seen, events) = unbounded_channel();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let asking = asked.clone();
        let answer = async move |method: Method, uri: Uri, body: String| {
            if method == Method::POST {
                let event: Value = serde_json::from_str(&body).unwrap();
                seen.send((Instant::now(), event.clone())).unwrap();
                return (StatusCode::CREATED, axum::Json(event));
            }
            asking.lock().unwrap().push(uri.path().to_owned());
            let found = objects.iter().find(|(path, _)| *path == uri.path()).map(|(_, metadata)| metadata);
            let refused = |code: StatusCode| {
                let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "No", "code": code.as_u16()});
                (code, axum::Json(status))
            };
            match found {
                Some(Value::Null) => refused(StatusCode::FORBIDDEN),
                Some(metadata) => {
                    let version = "meta.k8s.io/v1";
                    let found = json!({"apiVersion": version, "kind": "PartialObjectMetadata", "metadata": metadata});
                    (StatusCode::OK, axum::Json(found))
                }
                None => refused(StatusCode::NOT_FOUND),
            }
        };
        Self { client: kube::Client::new(Router::new().fallback(answer), "redis"), events, asked }
    }
}

/// The number of Events for this answer.
async fn made(api: &mut Api, answer: &Answer) -> usize {
    let mut registry = Registry::default();
    let (events, queue) = Events::new(Metrics::register(&mut registry));
    events.notify(answer);
    drop(events);
    queue.send(api.client.clone()).await;
    let mut made = 0;
    while api.events.try_recv().is_ok() {
        made += 1;
    }
    let expected = format!("redis_log_webhook_events_dropped_total {}", 1 - made);
    assert_eq!(dropped(&registry), expected, "an event that is not made is counted");
    made
}

/// The answer for a fixture's pod after `change`.
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
    let Api { client, events: mut seen, .. } = Api::new();
    let metrics = Metrics::register(&mut Registry::default());
    let (events, queue) = Events::new(metrics);
    tokio::spawn(queue.send(client));
    for _ in 0..10 {
        events.notify(&answer("a-vanilla", |_| {}));
    }
    let mut last: Option<Instant> = None;
    for _ in 0..10 {
        let (at, _) = tokio::time::timeout(Duration::from_mins(1), seen.recv()).await.expect("too few").unwrap();
        assert!(last.is_none_or(|last| at - last >= Duration::from_millis(200)));
        last = Some(at);
    }
}

#[tokio::test(start_paused = true)]
async fn drops_and_counts_surplus_events_without_waiting() {
    let Api { client, events: mut seen, .. } = Api::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (events, queue) = Events::new(metrics);
    for _ in 0..200 {
        events.notify(&answer("a-vanilla", |_| {}));
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
async fn creates_events_with_the_outcome_for_the_pods_owner() {
    let Api { client, events: mut seen, .. } = Api::new();
    let (events, queue) = Events::new(Metrics::register(&mut Registry::default()));
    let owned = |pod: &mut Value| {
        pod["metadata"]["ownerReferences"][0]["name"] = json!("rec");
        pod["metadata"]["ownerReferences"][0]["uid"] = json!(UID);
    };
    let unowned = |pod: &mut Value| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    for answer in [
        answer("a-vanilla", owned),
        answer("c-ephemeral", owned),
        answer("d-openshift-existing-alloy", owned),
        answer("e1-operator", |_| {}),
        answer("a-vanilla", unowned),
    ] {
        events.notify(&answer);
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

#[tokio::test(start_paused = true)]
async fn an_event_about_a_finding_names_its_code_and_its_section() {
    let annotate = |key: &'static str, value: &'static str| {
        answer("a-vanilla", move |pod| {
            pod["metadata"]["annotations"][format!("redis-log-shipper.io/{key}")] = json!(value);
        })
    };
    let own_container = answer("a-vanilla", |pod| {
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "log-shipper"}));
    });
    for (answer, code) in [
        (answer("c-ephemeral", |_| {}), "RLS204"),
        (annotate("tenant", ".."), "RLS205"),
        (annotate("image", "elsewhere/image:1"), "RLS206"),
        (annotate("image", "not an image"), "RLS205"),
        (annotate("loki-url", "https://elsewhere/loki/api/v1/push"), "RLS207"),
        (own_container, "RLS212"),
    ] {
        let Api { client, events: mut seen, .. } = Api::new();
        let (events, queue) = Events::new(Metrics::register(&mut Registry::default()));
        events.notify(&answer);
        drop(events);
        queue.send(client).await;
        let (_, event) = seen.try_recv().unwrap();
        let message = event["message"].as_str().unwrap();
        let section = format!("docs/troubleshooting.md#{})", code.to_lowercase());
        assert!(message.contains(&format!("({code}: see https://")) && message.ends_with(&section), "{message}");
        assert!(message.len() < 1024, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_review_creates_no_event() {
    let namespace = ("/api/v1/namespaces/redis", json!({"labels": {"redis-log-shipper.io/inject": "enabled"}}));
    let set = (SET, json!({"uid": UID}));
    let forged = |objects: &[&(&'static str, Value)]| Api::holding(objects.iter().map(|it| (*it).clone()).collect());
    let honest = answer("a-vanilla", |_| {});
    assert_eq!(made(&mut forged(&[&namespace, &set]), &honest).await, 1);
    let unlabelled = ("/api/v1/namespaces/redis", json!({"labels": {"redis-log-shipper.io/inject": "false"}}));
    let other = (SET, json!({"uid": "00000000-0000-4000-8000-000000000000"}));
    for objects in [vec![], vec![&set], vec![&unlabelled, &set], vec![&namespace], vec![&namespace, &other]] {
        assert_eq!(made(&mut forged(&objects), &honest).await, 0, "{objects:?}");
    }
    for (member, text) in [
        ("apiVersion", "apps/v1beta1"),
        ("apiVersion", "batch/v1"),
        ("kind", "ConfigMap"),
        ("name", "../statefulsets/rec"),
        ("name", "rec?x"),
        ("uid", "../"),
        ("uid", ""),
    ] {
        let mut api = Api::new();
        let forged = answer("a-vanilla", |pod| pod["metadata"]["ownerReferences"][0][member] = json!(text));
        assert_eq!(made(&mut api, &forged).await, 0, "{member} {text}");
        assert_eq!(*api.asked.lock().unwrap(), [""; 0], "{member} {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn creates_no_event_without_the_permission_to_look_up_owners() {
    let namespace = ("/api/v1/namespaces/redis", json!({"labels": {"redis-log-shipper.io/inject": "enabled"}}));
    for objects in [vec![("/api/v1/namespaces/redis", Value::Null)], vec![namespace, (SET, Value::Null)]] {
        assert_eq!(made(&mut Api::holding(objects), &answer("a-vanilla", |_| {})).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_many_pods_looks_its_owner_up_once_a_minute() {
    let Api { client, events: mut seen, asked } = Api::new();
    let (events, queue) = Events::new(Metrics::register(&mut Registry::default()));
    let sending = tokio::spawn(queue.send(client));
    for minutes in 1..=2 {
        for _ in 0..100 {
            events.notify(&answer("a-vanilla", |_| {}));
        }
        for _ in 0..100 {
            seen.recv().await.unwrap();
        }
        assert_eq!(*asked.lock().unwrap(), ["/api/v1/namespaces/redis", SET].repeat(minutes));
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    sending.abort();
}
