//! A real controller manager creates the pods of a StatefulSet: with a sidecar while the webhook answers, and without one if the
//! webhook fails in any way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::{Authority, PemPair};
use harness::cluster::Cluster;
use harness::controllers::{Controllers, stateful_set_of};
use harness::installation::Installation;
use harness::process::{Process, eventually};
use harness::programs::program;
use harness::servers::{Servers, Tools};
use harness::{pod_fixture, read_object, repository};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);
const REPLICAS: u32 = 3;
const LIFETIME: Duration = Duration::from_hours(1);

fn is_injected(pod: &Value) -> bool {
    pod["spec"]["containers"].as_array().unwrap().iter().any(|container| container["name"] == "log-shipper")
}

/// The pods that the controller creates for a StatefulSet in a namespace that opted in.
async fn pods_of_a_stateful_set(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let labels = json!({"redis-log-shipper.io/inject": "enabled"});
    cluster.create_namespace(namespace, &labels, &["rec"]).await.unwrap();
    let set = stateful_set_of(&pod_fixture("a-vanilla").unwrap(), namespace, REPLICAS);
    cluster.apply(&set).await.unwrap();
    eventually(&format!("{REPLICAS} pods in {namespace}"), PATIENCE, || async {
        let pods = cluster.whole_pods(namespace).await?;
        Ok((pods.len() == REPLICAS as usize).then_some(pods))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pods_of_a_stateful_set_get_sidecars_and_a_stopped_webhook_prevents_no_pod() {
    let Some(servers) = Servers::find("creates_pods_while_the_webhook_fails").unwrap() else { return };
    let Some(tools) = Tools::find("creates_pods_while_the_webhook_fails").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _controllers = Controllers::start(&tools, &cluster).await.unwrap();
    let installation = Installation::start(&cluster, "https://loki.example/loki/api/v1/push").await.unwrap();

    let pods = pods_of_a_stateful_set(&cluster, "served").await;
    assert!(pods.iter().all(is_injected), "{pods:#?}");
    // The controller hides warnings, so the StatefulSet gets Events.
    let events = eventually("an Event for each pod", PATIENCE, || async {
        let events = cluster.events("served").await?;
        let told = events.iter().filter(|(reason, _)| reason == "LogShipperInjected").count();
        Ok((told == REPLICAS as usize).then_some(()))
    });
    events.await.unwrap();

    // The webhook is gone: nothing listens.
    assert_eq!(cluster.failed_open().await.unwrap(), 0);
    drop(installation);
    let pods = pods_of_a_stateful_set(&cluster, "stopped").await;
    assert!(!pods.iter().any(is_injected));
    assert!(cluster.failed_open().await.unwrap() >= u64::from(REPLICAS));
}

/// A webhook that fails in some way.
struct Trouble {
    name: &'static str,
    port: u16,
    ca: String,
    _process: Option<(Process, TempDir)>,
}

/// A server that answers reviews with `routes`.
async fn trouble(name: &'static str, routes: Router) -> Trouble {
    let ca = Authority::new("test", LIFETIME).unwrap();
    let pair = ca.serving(&["localhost"], LIFETIME).unwrap();
    let tls = RustlsConfig::from_pem(pair.cert.into_bytes(), pair.key.into_bytes()).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(axum_server::from_tcp_rustls(listener, tls).unwrap().serve(routes.into_make_service()));
    Trouble { name, port, ca: ca.cert().to_owned(), _process: None }
}

/// The real webhook with an expired certificate.
fn expired() -> Trouble {
    let ca = Authority::new("test", LIFETIME).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let a_minute_ago = SystemTime::now() - Duration::from_mins(1);
    let PemPair { cert, key } = ca.serving_at(&["localhost"], Duration::ZERO, a_minute_ago).unwrap();
    std::fs::write(dir.path().join(certs::CERT_FILE), cert).unwrap();
    std::fs::write(dir.path().join(certs::KEY_FILE), key).unwrap();
    let port = harness::free_port().unwrap();
    let mut command = Command::new(program("redis-log-webhook").unwrap());
    command
        .args(["serve", "--admin-listen=127.0.0.1:0", &format!("--listen=127.0.0.1:{port}"), "--cert-dir"])
        .arg(dir.path())
        .env("KUBECONFIG", dir.path().join("no-kubeconfig"));
    let process = Process::start("redis-log-webhook", &command, dir.path()).unwrap();
    Trouble { name: "expired", port, ca: ca.cert().to_owned(), _process: Some((process, dir)) }
}

/// A server that accepts connections and never answers.
fn silent() -> Trouble {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept() {
            kept.push(connection);
        }
    });
    Trouble { name: "silent", port, ca: Authority::new("test", LIFETIME).unwrap().cert().to_owned(), _process: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_verbose_or_expired_webhook_prevents_no_pod() {
    let Some(servers) = Servers::find("creates_pods_while_the_webhook_fails").unwrap() else { return };
    let Some(tools) = Tools::find("creates_pods_while_the_webhook_fails").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _controllers = Controllers::start(&tools, &cluster).await.unwrap();
    let answering = |answer: &'static str| {
        Router::new().route("/mutate", post(move || async move { ([("content-type", "application/json")], answer) }))
    };
    let wrong_uid =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"no","allowed":true}}"#;
    let troubles = [
        trouble("slow", Router::new().route("/mutate", post(std::future::pending::<()>))).await,
        trouble("garbage", answering("no JSON at all")).await,
        trouble("half", answering(r#"{"apiVersion":"admission.k8s.io/v1","kind":"Admis"#)).await,
        trouble("wrong-uid", answering(wrong_uid)).await,
        trouble("missing", Router::new()).await,
        silent(),
        expired(),
    ];
    let mut configuration = read_object(&repository().join("manifests/base/webhook-configuration.yaml")).unwrap();
    // Each failing webhook has a namespace of its own.
    let one = configuration["webhooks"][0].clone();
    let webhooks: Vec<_> = troubles.iter().map(|trouble| registered(&one, trouble)).collect();
    configuration["webhooks"] = json!(webhooks);
    cluster.apply(&configuration).await.unwrap();
    let before = cluster.failed_open().await.unwrap();
    let made = troubles.iter().map(|trouble| pods_of_a_stateful_set(&cluster, trouble.name));
    let made = futures::future::join_all(made).await;
    for (trouble, pods) in troubles.iter().zip(made) {
        assert!(!pods.iter().any(is_injected), "{}", trouble.name);
    }
    // The API server called each webhook every time, and continued every time.
    let failed = cluster.failed_open().await.unwrap() - before;
    assert!(failed >= u64::from(REPLICAS) * troubles.len() as u64, "{failed}");
    for trouble in &troubles {
        // The timeout is 5 s. The next bucket of the API server's histogram is 10 s.
        let slow = cluster.slow_webhook_calls(&name_of(trouble), "10").await.unwrap();
        assert_eq!(slow, 0, "{}: the timeout of the manifests does not hold", trouble.name);
    }
}

fn name_of(trouble: &Trouble) -> String {
    format!("{}.redis-log-shipper.io", trouble.name)
}

/// The manifests' webhook with the address of a failing one, for the namespace of its name.
fn registered(webhook: &Value, trouble: &Trouble) -> Value {
    let mut webhook = webhook.clone();
    webhook["name"] = json!(name_of(trouble));
    let url = format!("https://localhost:{}/mutate", trouble.port);
    webhook["clientConfig"] = json!({"url": url, "caBundle": STANDARD.encode(&trouble.ca)});
    webhook["namespaceSelector"]["matchLabels"] = json!({"kubernetes.io/metadata.name": trouble.name});
    webhook
}
