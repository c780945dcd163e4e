//! Uninstalls in the documented order. From the first command on, pods get no sidecar. After the last command nothing of the
//! installation is left in the cluster, although the webhook was running all the time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::installation::{Installation, NAMESPACE};
use harness::manifests::{object, render_with};
use harness::process::eventually;
use harness::servers::Servers;
use harness::{pod_fixture, repository};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const BINDING: &str = "redis-log-shipper-managed-writers";
const LOKI: &str = "https://loki.example/loki/api/v1/push";

/// Deletes an object that may be gone with its namespace.
async fn delete(cluster: &Cluster, object: &Value) {
    let (api, name) = cluster.api_of(object).unwrap();
    match api.delete(&name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{name}: {error}"),
    }
}

async fn is_injected(cluster: &Cluster) -> bool {
    let pod = cluster.create_pod("redis", &pod_fixture("a-vanilla").unwrap(), true).await.unwrap();
    pod["metadata"]["annotations"]["redis-log-shipper.io/status"] == "injected"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_can_be_taken_away_in_the_order_of_the_documentation() {
    let Some(servers) = Servers::find("leaves_nothing_behind").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let objects = render_with(&servers.kustomize, &["self-signed", "managed-rbac"]).unwrap();
    let installation = Installation::of(&cluster, objects.clone(), LOKI).await.unwrap();
    let labels = json!({"redis-log-shipper.io/inject": "enabled"});
    cluster.create_namespace("redis", &labels, &["rec"]).await.unwrap();
    assert!(is_injected(&cluster).await);
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    eventually("the binding is there", PATIENCE, || async { Ok(bindings.get_opt(BINDING).await?) }).await.unwrap();

    // 1: no pod gets a sidecar any more.
    delete(&cluster, object(&objects, "MutatingWebhookConfiguration", "redis-log-shipper").unwrap()).await;
    eventually("pods are left alone", PATIENCE, || async { Ok((!is_injected(&cluster).await).then_some(())) })
        .await
        .unwrap();
    // 3: delete all that was applied, then what the webhook created outside its namespace.
    for object in &objects {
        delete(&cluster, object).await;
    }
    delete(
        &cluster,
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": BINDING}}),
    )
    .await;

    // The webhook may not create the binding again: that permission was deleted first.
    eventually("the webhook may do nothing any more", PATIENCE, || async {
        let log = installation.process.log();
        Ok(log.contains("failed to let the namespaces push that opted in").then_some(()))
    })
    .await
    .unwrap();
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=redis-log-shipper");
    assert_eq!(bindings.list(&ours).await.unwrap().items, []);
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    assert_eq!(roles.list(&ours).await.unwrap().items, []);
    // The namespace takes the rest with it. No controller here does that.
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    assert!(namespaces.get(NAMESPACE).await.unwrap().metadata.deletion_timestamp.is_some());
    let page = std::fs::read_to_string(repository().join("docs/install.md")).unwrap();
    assert!(page.contains(&format!("kubectl delete clusterrolebinding {BINDING} ")));
}
