//! Faults that the API server alone can show, each made for real.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::Authority;
use harness::controllers::{Controllers, stateful_set_of};
use harness::installation::NAMESPACE;
use harness::pod_fixture;
use harness::process::eventually;
use harness::servers::{Servers, Tools};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::time::Duration;

use super::world::{OPTED_IN, World};

const PATIENCE: Duration = Duration::from_mins(2);
const DAY: Duration = Duration::from_hours(24);

impl World {
    async fn patch(&self, kind: (&str, &str, &str), namespace: Option<&str>, name: &str, patch: &Value) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(kind.0, kind.1, kind.2));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.cluster.client.clone(), namespace, &resource),
            None => Api::all_with(self.cluster.client.clone(), &resource),
        };
        let patch = Patch::Json::<()>(serde_json::from_value(patch.clone()).unwrap());
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn patch_registration(&self, patch: &Value) {
        let kind = ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
        self.patch(kind, None, "redis-log-shipper", patch).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_the_faults_of_namespaces_and_pods() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.cluster.create_namespace("late", &json!({}), &["rec"]).await.unwrap();
    world.create_pod("late", "rec-0").await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS201"], "{report:#?}");
    assert!(report.succeeded && !world.check(&["--failure-threshold=warning"]).await.succeeded);

    let namespaces: Api<Namespace> = Api::all(world.cluster.client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {OPTED_IN: "enabled"}}}));
    namespaces.patch("late", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(world.check(&[]).await.codes(), ["RLS202"]);
    assert_eq!(world.check(&["--namespace=redis"]).await.codes(), [""; 0], "another namespace");

    let annotated = |key: &str, value: &str| {
        let (key, value) = (format!("redis-log-shipper.io/{key}"), json!(value));
        move |pod: &mut Value| pod["metadata"]["annotations"][key] = value
    };
    world.create_pod_with("redis", "rec-1", annotated("image", "registry.evil/shipper:1")).await;
    world.create_pod_with("redis", "rec-2", annotated("memory", "many")).await;
    world
        .create_pod_with("redis", "rec-3", |pod| {
            let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["mountPath"] != "/var/opt/redislabs/log");
        })
        .await;
    world
        .create_pod_with("redis", "rec-4", |pod| {
            let own = json!({"name": "log-shipper", "image": "alloy"});
            pod["spec"]["containers"].as_array_mut().unwrap().push(own);
        })
        .await;
    let report = world.check(&["--namespace=redis"]).await;
    assert_eq!(report.codes(), ["RLS204", "RLS205", "RLS206", "RLS212"], "{report:#?}");
    assert!(!report.succeeded, "a pod without a log mount is an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_drift_restarts_and_a_pod_that_was_created_while_the_webhook_was_away() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.create_pod("redis", "rec-0").await;
    let config = |text: &str| json!([{"op": "replace", "path": "/data/config.yaml", "value": text}]);
    let map = ("", "v1", "ConfigMap");
    let loki = "lokiUrl: http://loki.example:3100/loki/api/v1/push\n";
    let audit = format!("{loki}tenant: audit\n");
    world.patch(map, Some(NAMESPACE), "redis-log-webhook", &config(&audit)).await;
    assert_eq!(world.check(&[]).await.codes(), ["RLS208"]);
    world.patch(map, Some(NAMESPACE), "redis-log-webhook", &config("tenat: audit\n")).await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS107"], "no guess about drift: {report:#?}");
    world.patch(map, Some(NAMESPACE), "redis-log-webhook", &config(loki)).await;
    assert_eq!(world.check(&[]).await.codes(), [""; 0]);

    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), "redis");
    let status = json!({"status": {"containerStatuses": [{
        "name": "log-shipper", "image": "a", "imageID": "a", "ready": false, "restartCount": 5, "state": {},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }]}});
    pods.patch_status("rec-0", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS213"]);
    assert!(report.problems()[0].contains("5 times; it last ended with exit code 137 (OOMKilled)"), "{report:#?}");

    // As if the API server had not reached the webhook.
    let away =
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://localhost:1/mutate"}]);
    world.patch_registration(&away).await;
    world.create_pod("redis", "rec-1").await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS102", "RLS203", "RLS213"], "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_the_faults_of_the_installation() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.set_ready_replicas(0).await;
    assert_eq!(world.check(&[]).await.codes(), ["RLS102"]);
    world.set_ready_replicas(1).await;

    let selector =
        json!([{"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}]);
    world.patch_registration(&selector).await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS106"], "{report:#?}");
    let labels = json!({"app": "redis-enterprise", "redis.io/role": "node"});
    let selector = json!([{"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": labels}}]);
    world.patch_registration(&selector).await;
    let policy = |policy: &str| json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy}]);
    world.patch_registration(&policy("Fail")).await;
    assert_eq!(world.check(&[]).await.codes(), ["RLS111"]);
    world.patch_registration(&policy("Ignore")).await;
    assert_eq!(world.check(&[]).await.codes(), [""; 0]);

    // Nothing stands behind the Service here.
    let service = json!({"name": "redis-log-webhook", "namespace": NAMESPACE, "path": "/mutate"});
    let by_service = json!([
        {"op": "remove", "path": "/webhooks/0/clientConfig/url"},
        {"op": "add", "path": "/webhooks/0/clientConfig/service", "value": service},
    ]);
    world.patch_registration(&by_service).await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS102"], "{report:#?}");
    let problem = "the Service redis-log-shipper/redis-log-webhook has no ready endpoint";
    assert!(report.problems().contains(&problem.to_owned()), "{report:#?}");
    assert_eq!(report.result("the API server trusts its certificate"), Some("ok"), "{report:#?}");

    world.patch_registration(&json!([{"op": "remove", "path": "/webhooks/0"}])).await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS101"], "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_a_certificate_that_the_api_server_does_not_trust() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    // Nothing in this cluster issues the certificate again.
    let world = World::with(&servers, &["openshift-service-ca"]).await;
    assert_eq!(world.check(&[]).await.codes(), [""; 0]);
    let bundle = |ca: &str| json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": STANDARD.encode(ca)}]);
    let other = Authority::new("other", DAY * 90).unwrap();
    world.patch_registration(&bundle(other.cert())).await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS103"], "{report:#?}");

    let past = std::time::SystemTime::now() - DAY * 20;
    let ours = Authority::new_at("ours", DAY * 90, past).unwrap();
    world.patch_registration(&bundle(ours.cert())).await;
    for (lifetime, code) in [(DAY * 10, "RLS104"), (DAY * 22, "RLS105")] {
        let pair = ours.serving_at(&["localhost"], lifetime, past).unwrap();
        let data = json!({"tls.crt": STANDARD.encode(pair.cert), "tls.key": STANDARD.encode(pair.key)});
        let patch = json!([{"op": "replace", "path": "/data", "value": data}]);
        world.patch(("", "v1", "Secret"), Some(NAMESPACE), "redis-log-webhook-tls", &patch).await;
        let codes = world.check(&[]).await.codes();
        // The webhook still serves the certificate that it read first.
        assert!(codes.contains(&code.to_owned()), "{codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_a_pod_that_a_quota_refused_with_the_sidecar_and_accepts_one_that_was_fitted() {
    let (Some(servers), Some(tools)) =
        (Servers::find("checks_a_cluster").unwrap(), Tools::find("checks_a_cluster").unwrap())
    else {
        return;
    };
    let world = World::new(&servers).await;
    let controllers = ["statefulset-controller", "resourcequota-controller"];
    let _controllers = Controllers::start_only(&tools, &world.cluster, &controllers).await.unwrap();
    let bounds = |kind: &str, namespace: &str, spec: &Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "bounds", "namespace": namespace}, "spec": spec});
    for namespace in ["full", "least"] {
        world.cluster.create_namespace(namespace, &json!({OPTED_IN: "enabled"}), &["rec"]).await.unwrap();
    }
    let limits = json!({"limits": [{"type": "Container", "min": {"memory": "128Mi"}}]});
    world.cluster.apply(&bounds("LimitRange", "least", &limits)).await.unwrap();
    world.cluster.apply(&bounds("ResourceQuota", "full", &json!({"hard": {"limits.cpu": "2150m"}}))).await.unwrap();
    let pod = pod_fixture("a-vanilla").unwrap();
    eventually("the quota refuses the sidecar, and the webhook knows the limits", PATIENCE, || async {
        let is_refused = world.cluster.create_pod("full", &pod, true).await.is_err();
        Ok((is_refused && world.cluster.create_pod("least", &pod, true).await.is_ok()).then_some(()))
    })
    .await
    .unwrap();
    for namespace in ["full", "least"] {
        world.cluster.apply(&stateful_set_of(&pod, namespace, 1)).await.unwrap();
        eventually("the pod", PATIENCE, || async {
            Ok((!world.cluster.pods(namespace).await?.is_empty()).then_some(()))
        })
        .await
        .unwrap();
    }
    eventually("the Event", PATIENCE, || async {
        let events = world.cluster.events("full").await?;
        Ok(events.iter().any(|(reason, _)| reason == "LogShipperSteppedAside").then_some(()))
    })
    .await
    .unwrap();
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS209"], "{report:#?}");
    assert!(report.problems()[0].starts_with("pod full/rec-0: stepped aside: "), "{report:#?}");
    assert_eq!(report.result("pod least/rec-0 has the current sidecar"), Some("ok"), "{report:#?}");
}
