//! Whether the accounts of new pods may push, and when their owners are told. Only a paused clock shows when.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use prometheus_client::registry::Registry;
use redis_log_webhook::admission::{Answer, review};
use redis_log_webhook::cluster::asking::Asking;
use redis_log_webhook::config::Config;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// The owner in the fixtures.
const UID: &str = "3f0c6f0e-6d0b-4a57-9d0e-4a4b6f0c1a10";
const SET: &str = "/apis/apps/v1/namespaces/redis/statefulsets/rec";

/// A fake API server with an opted-in namespace, the StatefulSet of the fixtures, and a permission from some moment on.
struct World {
    asking: Asking,
    events: UnboundedReceiver<(Instant, Value)>,
    /// When the question was asked, and whose permission it was about.
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    started: Instant,
}

impl World {
    fn new(owners: &'static [&'static str], granted_after: Option<Duration>) -> Self {
        let (seen, events) = unbounded_channel();
        let (asked, started) = (Arc::<Mutex<Vec<_>>>::default(), Instant::now());
        let asking = asked.clone();
        let answer = async move |method: Method, uri: Uri, body: String| {
            let posted: Value = serde_json::from_str(&body).unwrap_or_default();
            let (status, answer) = match (method, uri.path()) {
                (Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews") => {
                    let is_cluster_wide = posted["spec"]["resourceAttributes"]["namespace"].is_null();
                    if is_cluster_wide {
                        let user = posted["spec"]["user"].as_str().unwrap().to_owned();
                        asking.lock().unwrap().push((Instant::now(), user));
                    }
                    let granted = granted_after.is_some_and(|after| started.elapsed() >= after);
                    (StatusCode::CREATED, json!({"spec": {}, "status": {"allowed": is_cluster_wide && granted}}))
                }
                (Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
                    (StatusCode::CREATED, json!({"spec": {}, "status": {"allowed": false}}))
                }
                (Method::POST, "/api/v1/namespaces/redis/events") => {
                    seen.send((Instant::now(), posted.clone())).unwrap();
                    (StatusCode::CREATED, posted)
                }
                (Method::GET, "/api/v1/namespaces/redis") => {
                    let label = json!({"labels": {"redis-log-shipper.io/inject": "enabled"}});
                    (StatusCode::OK, json!({"metadata": label}))
                }
                (Method::GET, path) if owners.contains(&path) => (StatusCode::OK, json!({"metadata": {"uid": UID}})),
                _ => (StatusCode::NOT_FOUND, json!({"kind": "Status", "status": "Failure", "code": 404})),
            };
            (status, axum::Json(answer))
        };
        let client = kube::Client::new(Router::new().fallback(answer), "redis");
        let (told, queue) = Events::new(Metrics::register(&mut Registry::default()));
        let (asking, questions) = Asking::new();
        tokio::spawn(queue.send(client.clone()));
        tokio::spawn(questions.answer(client, told));
        Self { asking, events, asked, started }
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|(at, _)| (*at - self.started).as_secs()).collect()
    }

    /// The Events so far, with their seconds.
    fn told(&mut self) -> Vec<(u64, Value)> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|(at, it)| ((at - self.started).as_secs(), it)).collect()
    }
}

/// The answer for a pod of the account `rec` after `change`.
fn answer(config: &Config, change: impl FnOnce(&mut Value)) -> Answer {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/a-vanilla.pod.yaml");
    let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut pod);
    let request = json!({
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "redis", "operation": "CREATE", "object": pod,
    });
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    review(body.to_string().as_bytes(), config).unwrap()
}

fn new_pod() -> Answer {
    answer(&Config::default(), |_| {})
}

#[tokio::test(start_paused = true)]
async fn tells_the_owner_once_after_two_questions_that_its_account_may_not_push() {
    let mut world = World::new(&[SET], None);
    for _ in 0..3 {
        world.asking.ask(&new_pod());
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.asking.ask(&new_pod());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.asked(), [2, 12]);
    assert_eq!(world.asked.lock().unwrap()[0].1, "system:serviceaccount:redis:rec");
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let (second, event) = &told[0];
    assert_eq!((*second, event["reason"].as_str()), (12, Some("LogShipperMayNotPush")));
    assert_eq!(event["involvedObject"]["uid"], UID);
    let message = event["message"].as_str().unwrap();
    for words in [
        "RLS301: ServiceAccount redis/rec may not push to the tenant application; fix: redis-log-webhook rbac",
        "docs/troubleshooting.md#rls301",
    ] {
        assert!(message.contains(words), "{message}");
    }
    assert!(message.len() < 1024, "the API server refuses a longer message: {message}");
}

#[tokio::test(start_paused = true)]
async fn says_nothing_where_the_permission_comes_seconds_after_the_pod() {
    let mut world = World::new(&[SET], Some(Duration::from_secs(5)));
    world.asking.ask(&new_pod());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((world.asked(), world.told().len()), (vec![2, 12], 0));
}

#[tokio::test(start_paused = true)]
async fn asks_again_after_a_minute() {
    let world = World::new(&[SET], Some(Duration::ZERO));
    for _ in 0..3 {
        world.asking.ask(&new_pod());
        tokio::time::sleep(Duration::from_secs(31)).await;
    }
    assert_eq!(world.asked(), [2, 64]);
}

#[tokio::test(start_paused = true)]
async fn asks_nothing_about_a_forged_review() {
    let mut world = World::new(&[], None);
    world.asking.ask(&new_pod());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((world.asked().len(), world.told().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn asks_nothing_about_a_pod_that_pushes_to_no_gateway_or_gets_no_sidecar() {
    let world = World::new(&[SET], None);
    let plain = Config { loki_url: "http://loki:3100/loki/api/v1/push".to_owned(), ..Config::default() };
    world.asking.ask(&answer(&plain, |_| {}));
    world.asking.ask(&answer(&Config::default(), |pod| {
        pod["metadata"]["annotations"]["redis-log-shipper.io/inject"] = json!("false");
    }));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.asked().len(), 0);
}
