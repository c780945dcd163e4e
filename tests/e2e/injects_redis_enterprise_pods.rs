//! A real API server stores a Redis Enterprise pod with a sidecar, and any other pod unchanged.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::installation::Installation;
use harness::manifests::render;
use harness::owners::owned;
use harness::process::eventually;
use harness::servers::Servers;
use harness::{pod_fixture, read_object, repository};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Whether each fixture is injected in a namespace that opted in.
const FIXTURES: [(&str, bool); 11] = [
    ("a-vanilla", true),
    ("a2-vanilla-annotated", true),
    ("a3-vanilla-readonly-rootfs", true),
    ("b-openshift", true),
    ("c-ephemeral", false),
    ("c2-ephemeral-emptydir", true),
    ("d-openshift-existing-alloy", true),
    ("e1-operator", false),
    ("e2-services-rigger", false),
    ("e3-call-home-job", false),
    ("e4-helm-cluster-creator-job", false),
];
const WEBHOOK: &str = "inject.redis-log-shipper.io";
const PATIENCE: Duration = Duration::from_secs(30);
/// How many generated pods are created.
const SHAPES: usize = 100;
const ACCOUNTS: [&str; 3] = ["rec", "demo-redis-cluster", "redis-enterprise-operator"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injects_redis_enterprise_pods_of_labelled_namespaces_and_nothing_else() {
    let Some(servers) = Servers::find("injects_redis_enterprise_pods").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _installation =
        Installation::start(&cluster, "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push").await.unwrap();
    cluster.create_namespace("labelled", &json!({"redis-log-shipper.io/inject": "enabled"}), &ACCOUNTS).await.unwrap();
    cluster.create_namespace("unlabelled", &json!({}), &ACCOUNTS).await.unwrap();

    for (fixture, injected) in FIXTURES {
        let mut pod = pod_fixture(fixture).unwrap();
        // Several fixtures are variants of the same pod. Here they need different names.
        if let Some(name) = pod.pointer_mut("/metadata/name") {
            *name = json!(fixture);
        }
        // Only owners that exist get Events.
        let owner = pod.pointer("/metadata/ownerReferences/0").unwrap_or(&Value::Null).clone();
        if owner["kind"] == "StatefulSet" {
            let owner = ("StatefulSet", owner["name"].as_str().unwrap());
            pod = owned(&cluster, "labelled", owner, &pod).await.unwrap();
        }
        let dry = cluster.create_pod("labelled", &pod, true).await.unwrap();
        let before = cluster.pods("labelled").await.unwrap();
        let stored = cluster.create_pod("labelled", &pod, false).await.unwrap();
        assert_eq!(
            cluster.pods("labelled").await.unwrap().len(),
            before.len() + 1,
            "{fixture}: a dry run wrote something"
        );
        assert_eq!(injection(&dry), injection(&stored), "{fixture}: a dry run gave another pod");
        if injected {
            assert_injected(fixture, &pod, &stored);
        } else {
            assert_eq!(injection(&stored), json!([[], [], null, null]), "{fixture}");
        }
        let elsewhere = cluster.create_pod("unlabelled", &pod, false).await.unwrap();
        assert_eq!(injection(&elsewhere), json!([[], [], null, null]), "{fixture} in a namespace that did not opt in");
    }
    // Before the Events are checked: they are written one after the other.
    let mut forged = pod_fixture("a-vanilla").unwrap();
    forged["metadata"]["name"] = json!("forged");
    forged["metadata"]["ownerReferences"][0]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    cluster.create_pod("labelled", &forged, false).await.unwrap();
    let last = owned(&cluster, "labelled", ("StatefulSet", "rec"), &pod_fixture("a-vanilla").unwrap()).await.unwrap();
    cluster.create_pod("labelled", &last, false).await.unwrap();
    assert_owners_were_told(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_asks_once_for_a_pod() {
    let Some(servers) = Servers::find("asks_once").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _installation =
        Installation::start(&cluster, "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push").await.unwrap();
    cluster.create_namespace("labelled", &json!({"redis-log-shipper.io/inject": "enabled"}), &ACCOUNTS).await.unwrap();
    for (fixture, _) in FIXTURES.iter().filter(|(_, injected)| *injected) {
        let pod = pod_fixture(fixture).unwrap();
        let before = cluster.webhook_calls(WEBHOOK).await.unwrap();
        let stored = cluster.create_pod("labelled", &pod, true).await.unwrap();
        assert_eq!(stored["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected", "{fixture}");
        let calls = cluster.webhook_calls(WEBHOOK).await.unwrap() - before;
        assert_eq!(calls, 1, "{fixture}: the API server found something to add after us, and asked again: {stored:#}");
    }
}

/// A pod that names a pull secret does not get those of its ServiceAccount later. They must be there at the review.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_keeps_the_pull_secrets_of_its_service_account_beside_the_configured_ones() {
    let Some(servers) = Servers::find("keeps_the_pull_secrets").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let mut objects = render(&servers.kustomize, "overlays/plain").unwrap();
    let map = objects.iter_mut().find(|object| object["kind"] == "ConfigMap").unwrap();
    map["data"]["config.yaml"] = json!("imagePullSecrets: [{name: ours}, {name: both}]\n");
    let _installation = Installation::of(&cluster, objects, "http://loki.example/push").await.unwrap();
    cluster.create_namespace("labelled", &json!({"redis-log-shipper.io/inject": "enabled"}), &ACCOUNTS).await.unwrap();
    let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "rec", "namespace": "labelled"},
        "imagePullSecrets": named(&["account", "both"]),
    });
    cluster.apply(&account).await.unwrap();
    let mut pod = pod_fixture("a-vanilla").unwrap();
    pod["spec"]["serviceAccountName"] = json!("rec");
    pod["spec"].as_object_mut().unwrap().remove("imagePullSecrets");
    let stored = cluster.create_pod("labelled", &pod, true).await.unwrap();
    assert_eq!(stored["spec"]["imagePullSecrets"], json!(named(&["account", "both", "ours"])));
    assert_eq!(stored["metadata"]["annotations"]["redis-log-shipper.io/pull-secrets"], "ours");
}

/// One of the many shapes that a valid Redis Enterprise pod can have.
fn shape() -> impl Strategy<Value = Value> {
    let switches = proptest::collection::vec(any::<bool>(), 12);
    let annotations = proptest::sample::subsequence(
        vec![
            ("redis-log-shipper.io/sidecar-mode", "native"),
            ("redis-log-shipper.io/state", "ephemeral"),
            ("redis-log-shipper.io/cpu", "1e-1"),
            ("redis-log-shipper.io/memory", "0.1Gi"),
            ("redis-log-shipper.io/include", "*.log"),
            ("redis-log-shipper.io/unknown", "x"),
            ("example.com/a.b_c-d", "~1/~0"),
        ],
        0..=7,
    );
    let fixture = proptest::sample::select(vec![
        "a-vanilla",
        "a3-vanilla-readonly-rootfs",
        "b-openshift",
        "c2-ephemeral-emptydir",
    ]);
    (fixture, switches, annotations, 0..4_usize).prop_map(|(fixture, switches, annotations, more)| {
        let mut pod = pod_fixture(fixture).unwrap();
        let on = |switch: usize| switches[switch];
        if on(0) {
            pod["metadata"]["annotations"] = annotations.into_iter().collect();
        }
        for i in 0..more {
            let name = format!("other-{i}");
            let other = json!({"name": name, "image": "other:1", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}});
            pod["spec"]["containers"].as_array_mut().unwrap().insert(i % 2, other);
        }
        if on(1) {
            pod["spec"]["hostNetwork"] = json!(true);
            for container in pod["spec"]["containers"].as_array_mut().unwrap() {
                container.as_object_mut().unwrap().remove("ports");
            }
        }
        if on(2) {
            pod["spec"]["initContainers"] = if on(3) { json!([]) } else { json!(null) };
        }
        if on(4) {
            pod["spec"]["automountServiceAccountToken"] = json!(false);
        }
        if on(5) {
            pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "log-shipper-token", "emptyDir": {}}));
        }
        let node = pod["spec"]["containers"].as_array_mut().unwrap();
        let node = node.iter_mut().find(|container| container["name"] == "redis-enterprise-node").unwrap();
        if on(6) {
            let mounts = node["volumeMounts"].as_array_mut().unwrap();
            let logs = mounts.iter_mut().find(|mount| mount["mountPath"] == "/var/opt/redislabs/log").unwrap();
            logs.as_object_mut().unwrap().remove("subPath");
            logs["subPathExpr"] = json!("$(MY_POD_NAME)/logs");
        }
        if on(7) {
            node["securityContext"]["runAsUser"] = json!(1001);
        }
        if on(8) {
            pod["spec"]["resources"] = json!({"limits": {"cpu": "2200m", "memory": "4300Mi"}, "requests": {"cpu": "2200m", "memory": "4300Mi"}});
        }
        if on(9) {
            pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        }
        if on(10) {
            let name = pod["metadata"].as_object_mut().unwrap().remove("name");
            assert!(name.is_some());
        }
        pod
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_of_pod_is_accepted_by_the_api_server() {
    let Some(servers) = Servers::find("every_shape_of_pod").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _installation =
        Installation::start(&cluster, "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push").await.unwrap();
    cluster.create_namespace("labelled", &json!({"redis-log-shipper.io/inject": "enabled"}), &ACCOUNTS).await.unwrap();
    // The same shapes in every run, so a failure can be reproduced.
    let mut runner = TestRunner::deterministic();
    for _ in 0..SHAPES {
        let pod = shape().new_tree(&mut runner).unwrap().current();
        let stored = cluster.create_pod("labelled", &pod, true).await;
        let stored = stored.unwrap_or_else(|error| panic!("{error:#}\n{pod:#}"));
        assert_eq!(stored["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected", "{pod:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_golden_pod_that_the_api_server_accepts_is_refused_once_it_is_injected() {
    let Some(servers) = Servers::find("no_golden_pod_is_refused").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let _installation =
        Installation::start(&cluster, "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push").await.unwrap();
    let accounts = [&ACCOUNTS[..], &["default"]].concat();
    cluster.create_namespace("labelled", &json!({"redis-log-shipper.io/inject": "enabled"}), &accounts).await.unwrap();
    cluster.create_namespace("unlabelled", &json!({}), &accounts).await.unwrap();
    let (mut injected, mut left_alone) = (0, 0);
    for entry in std::fs::read_dir(repository().join("webhook/tests/golden/shapes")).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_str().unwrap().ends_with(".pod.yaml") {
            continue;
        }
        let pod = read_object(&path).unwrap();
        if cluster.create_pod("unlabelled", &pod, true).await.is_err() {
            continue;
        }
        let stored = cluster.create_pod("labelled", &pod, true).await;
        let stored = stored.unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        let status = &stored["metadata"]["annotations"]["redis-log-shipper.io/status"];
        *if *status == "injected" { &mut injected } else { &mut left_alone } += 1;
    }
    assert!(injected > 30 && left_alone > 10, "{injected} injected, {left_alone} left alone");
}

/// Each injected pod and each warning has one Event. Dry runs and other pods have none.
async fn assert_owners_were_told(cluster: &Cluster) {
    // The last pod is not a fixture.
    let injected = FIXTURES.iter().filter(|(_, injected)| *injected).count() + 1;
    let events = eventually("an Event for every injected pod and every warning", PATIENCE, || async {
        let events = cluster.events("labelled").await?;
        Ok((events.len() >= injected + 2).then_some(events))
    })
    .await
    .unwrap();
    let count = |reason: &str| events.iter().filter(|(is, _)| is == reason).count();
    assert_eq!(count("LogShipperInjected"), injected, "{events:?}");
    assert_eq!(count("LogShipperNotInjected"), 1, "{events:?}");
    assert_eq!(count("LogShipperWarning"), 1, "{events:?}");
    let told = |part: &str| events.iter().any(|(_, message)| message.contains(part));
    assert!(told("no volume mounted at /var/opt/redislabs/log") && told("container alloy"), "{events:?}");
    assert!(!told("pod forged"), "{events:?}");
    assert!(cluster.events("unlabelled").await.unwrap().is_empty());
}

/// The parts of a pod that the webhook adds.
fn injection(pod: &Value) -> Value {
    let ours = |list: &str| -> Vec<&Value> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.filter(|item| item["name"].as_str().unwrap().starts_with("log-shipper")).collect()
    };
    let annotation = |name: &str| &pod["metadata"]["annotations"][name];
    json!([
        ours("containers"),
        ours("volumes"),
        annotation("redis-log-shipper.io/status"),
        annotation("redis-log-shipper.io/hash")
    ])
}

fn assert_injected(fixture: &str, before: &Value, stored: &Value) {
    let containers = |pod: &Value| pod["spec"]["containers"].as_array().unwrap().clone();
    let (mut with, without) = (containers(stored), containers(before));
    let sidecar = with.pop().unwrap();
    assert_eq!(sidecar["name"], "log-shipper", "{fixture}: the sidecar comes last");
    assert_eq!(with, without, "{fixture}: the original containers are unchanged");
    assert_eq!(stored["spec"]["initContainers"], before["spec"]["initContainers"], "{fixture}");

    let mount = |path: &str| {
        let mounts = sidecar["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["mountPath"] == path).unwrap_or_else(|| panic!("{fixture}: nothing at {path}"))
    };
    let logs = json!({"name": "redis-enterprise-storage", "mountPath": "/var/opt/redislabs/log", "subPath": "logs", "readOnly": true});
    assert_eq!(mount("/var/opt/redislabs/log"), &logs, "{fixture}");
    let token = mount("/var/run/secrets/redis-log-shipper");
    let volumes = stored["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == token["name"]).unwrap();
    let sources = volume["projected"]["sources"].as_array().unwrap();
    assert_eq!(sources[0]["serviceAccountToken"], json!({"expirationSeconds": 3600, "path": "token"}), "{fixture}");
    mount("/var/lib/redis-log-shipper");
    assert_eq!(sidecar["resources"]["requests"], sidecar["resources"]["limits"], "{fixture}");
    assert_eq!(stored["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected", "{fixture}");
    for key in ["terminationGracePeriodSeconds", "securityContext", "hostNetwork", "shareProcessNamespace"] {
        assert_eq!(stored["spec"][key], before["spec"][key], "{fixture}: {key}");
    }
}
