//! On a real API server: the webhook finds out why a ServiceAccount may not push, and tells the owners of its pods.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::installation::Installation;
use harness::manifests::render_with;
use harness::owners::owned;
use harness::pod_fixture;
use harness::process::eventually;
use harness::servers::Servers;
use redis_log_webhook::admission::pusher::Pusher;
use redis_log_webhook::cluster::access;
use redis_log_webhook::cluster::rbac::{Access, Accounts, Permission};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const GATEWAY: &str = "https://gateway.example/api/logs/v1/{tenant}/loki/api/v1/push";

fn grant(namespace: &str, accounts: Accounts) -> [Value; 2] {
    let (namespace, tenant) = (namespace.to_owned(), "application".to_owned());
    Permission { account_namespace: namespace.clone(), namespace, accounts, tenant, access: Access::Write }.objects()
}

async fn create_namespace(cluster: &Cluster, name: &str) {
    cluster.create_namespace(name, &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_what_is_wrong_with_the_permission_to_push() {
    let Some(servers) = Servers::find("names_what_is_wrong_with_the_permission_to_push").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let code = async |namespace: &str| {
        let (namespace, account, tenant) = (namespace.to_owned(), "rec".to_owned(), "application".to_owned());
        let found = access::ask(&cluster.client, &Pusher { namespace, account, tenant }).await.unwrap();
        found.map(|finding| finding.code.as_str())
    };
    for namespace in ["granted", "none", "narrow", "other"] {
        create_namespace(&cluster, namespace).await;
    }
    for object in grant("granted", Accounts::All) {
        cluster.apply(&object).await.unwrap();
    }
    assert_eq!((code("granted").await, code("none").await), (None, Some("RLS301")));

    let [_, mut binding] = grant("narrow", Accounts::One("rec".to_owned()));
    binding["kind"] = json!("RoleBinding");
    binding["metadata"]["namespace"] = json!("narrow");
    cluster.apply(&binding).await.unwrap();
    let [_, other] = grant("other", Accounts::One("default".to_owned()));
    cluster.apply(&other).await.unwrap();
    assert_eq!((code("narrow").await, code("other").await), (Some("RLS302"), Some("RLS303")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_the_owners_of_new_pods_that_may_not_push() {
    let Some(servers) = Servers::find("tells_the_owners_of_new_pods_that_may_not_push").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let objects = render_with(&servers.kustomize, &["self-signed", "ask-permissions"]).unwrap();
    let _installation = Installation::of(&cluster, objects, GATEWAY).await.unwrap();
    for namespace in ["dry", "granted", "refused"] {
        create_namespace(&cluster, namespace).await;
    }
    for object in grant("granted", Accounts::One("rec".to_owned())) {
        cluster.apply(&object).await.unwrap();
    }
    for (namespace, dry_run) in [("dry", true), ("granted", false), ("refused", false)] {
        let pod = owned(&cluster, namespace, ("StatefulSet", "rec"), &pod_fixture("a-vanilla").unwrap()).await.unwrap();
        cluster.create_pod(namespace, &pod, dry_run).await.unwrap();
    }
    let told = async |namespace: &str| -> anyhow::Result<Option<String>> {
        let events = cluster.events(namespace).await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "LogShipperMayNotPush").map(|(_, message)| message))
    };
    let message = eventually("the owner is told", PATIENCE, || told("refused")).await.unwrap();
    let command = "redis-log-webhook rbac --namespace refused --service-account rec --tenant application";
    assert!(message.contains("RLS301") && message.contains(command), "{message}");
    // Their questions came first, so their Events would be there as well.
    for namespace in ["dry", "granted"] {
        assert_eq!(told(namespace).await.unwrap(), None, "{namespace}");
    }
}
