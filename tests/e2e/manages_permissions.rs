//! Managed RBAC on a real API server: the ServiceAccounts of a namespace may push exactly while the namespace has the label,
//! whatever else happens to the binding.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::held::Held;
use harness::process::eventually;
use harness::repository;
use harness::servers::Servers;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use prometheus_client::registry::Registry;
use redis_log_webhook::cluster::managed_rbac::{self, Metrics};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const BINDING: &str = "redis-log-shipper-managed-writers";
const REPLICAS: usize = 2;

struct World {
    cluster: Cluster,
    bindings: Api<ClusterRoleBinding>,
    shutdown: CancellationToken,
}

impl World {
    async fn new(servers: &Servers) -> Self {
        let cluster = Cluster::start_audited(servers).await.unwrap();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "redis-log-shipper-writer"},
            "rules": role_of_the_manifests(),
        });
        cluster.apply(&role).await.unwrap();
        let bindings = Api::all(cluster.client.clone());
        Self { cluster, bindings, shutdown: CancellationToken::new() }
    }

    fn start_replicas(&self) {
        for _ in 0..REPLICAS {
            let metrics = Metrics::register(&mut Registry::default());
            tokio::spawn(managed_rbac::keep(self.cluster.client.clone(), metrics, self.shutdown.clone()));
        }
    }

    async fn label(&self, namespace: &str, value: &Value) {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"redis-log-shipper.io/inject": value}}}));
        api.patch(namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Removes a namespace as its controller does with an empty one.
    async fn delete(&self, namespace: &str) {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        api.delete(namespace, &DeleteParams::default()).await.unwrap();
        let mut deleted = api.get(namespace).await.unwrap();
        deleted.spec.as_mut().unwrap().finalizers = None;
        let request = hyper::Request::put(format!("/api/v1/namespaces/{namespace}/finalize"))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&deleted).unwrap());
        self.cluster.client.request::<Value>(request.unwrap()).await.unwrap();
    }

    /// The namespaces whose groups are bound.
    async fn bound(&self) -> Vec<String> {
        let binding = self.bindings.get_opt(BINDING).await.unwrap();
        let subjects = binding.and_then(|binding| binding.subjects).unwrap_or_default();
        let namespace = |name: &str| name.strip_prefix("system:serviceaccounts:").map(str::to_owned);
        subjects.iter().map(|subject| namespace(&subject.name).unwrap_or_else(|| subject.name.clone())).collect()
    }

    async fn assert_becomes(&self, expected: &[&str]) {
        let what = format!("{expected:?} may push");
        eventually(&what, PATIENCE, || async { Ok((self.bound().await == expected).then_some(())) }).await.unwrap();
        for namespace in expected {
            assert!(self.may_push(namespace).await, "{namespace}");
        }
    }

    /// Waits until no replica checks the binding any more. The replicas must notice the next change by itself, not in a check that
    /// an earlier change triggered.
    async fn settle(&self) {
        const POLLS: u32 = 10;
        let (mut looks, mut unchanged) = (0, 0);
        eventually("nobody looks any more", PATIENCE, || {
            let is_look = |event: &Value| event["verb"] == "get" && event["objectRef"]["name"] == BINDING;
            let now = self.cluster.audit().map(|events| events.iter().filter(|event| is_look(event)).count());
            if let Ok(now) = now {
                unchanged = if now == looks { unchanged + 1 } else { 0 };
                looks = now;
            }
            let is_settled = unchanged >= POLLS;
            async move { now.map(|_| is_settled.then_some(())) }
        })
        .await
        .unwrap();
    }

    /// Asks the question of OpenShift Logging's gateway.
    async fn may_push(&self, namespace: &str) -> bool {
        let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
            "user": format!("system:serviceaccount:{namespace}:any"),
            "groups": ["system:authenticated", "system:serviceaccounts", format!("system:serviceaccounts:{namespace}")],
            "resourceAttributes": {"group": "loki.grafana.com", "resource": "application", "name": "logs", "verb": "create"},
        }}))
        .unwrap();
        let answer = Api::all(self.cluster.client.clone()).create(&PostParams::default(), &review).await.unwrap();
        answer.status.unwrap().allowed
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn role_of_the_manifests() -> Value {
    let text = std::fs::read_to_string(repository().join("manifests/components/managed-rbac/rbac.yaml")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().find(|object| object["metadata"]["name"] == "redis-log-shipper-writer").unwrap()["rules"]
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opted_in_may_push_and_nobody_else() {
    let Some(servers) = Servers::find("manages_permissions").unwrap() else { return };
    let world = World::new(&servers).await;
    let opted_in = json!({"redis-log-shipper.io/inject": "enabled"});
    world.cluster.create_namespace("early", &opted_in, &[]).await.unwrap();
    world.cluster.create_namespace("never", &json!({}), &[]).await.unwrap();
    world.start_replicas();
    world.assert_becomes(&["early"]).await;

    world.cluster.create_namespace("born", &opted_in, &[]).await.unwrap();
    world.cluster.create_namespace("late", &json!({"redis-log-shipper.io/inject": "later"}), &[]).await.unwrap();
    world.assert_becomes(&["born", "early"]).await;
    world.settle().await;
    world.label("late", &json!("enabled")).await;
    world.assert_becomes(&["born", "early", "late"]).await;

    // Namespaces leave: by another value, without the label, deleted.
    world.settle().await;
    world.label("early", &json!("disabled")).await;
    world.assert_becomes(&["born", "late"]).await;
    world.settle().await;
    world.label("born", &Value::Null).await;
    world.assert_becomes(&["late"]).await;
    world.settle().await;
    world.delete("late").await;
    world.assert_becomes(&[]).await;
    for namespace in ["early", "born", "late", "never"] {
        assert!(!world.may_push(namespace).await, "{namespace}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_by_hand_and_conflicts_are_survived() {
    let Some(servers) = Servers::find("manages_permissions").unwrap() else { return };
    let world = World::new(&servers).await;
    world.cluster.create_namespace("redis", &json!({"redis-log-shipper.io/inject": "enabled"}), &[]).await.unwrap();
    world.start_replicas();
    world.assert_becomes(&["redis"]).await;

    let group = |name: &str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name});
    // More often than the replicas check by themselves after their start.
    for _ in 0..5 {
        world.settle().await;
        let edited = Patch::Merge(json!({"subjects": [group("system:authenticated")]}));
        world.bindings.patch(BINDING, &PatchParams::default(), &edited).await.unwrap();
        world.assert_becomes(&["redis"]).await;
        world.bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
        world.assert_becomes(&["redis"]).await;
    }

    // Everything at once: namespaces come and go, somebody edits the binding, and both replicas write it.
    let names: Vec<_> = (0..12).map(|i| format!("redis-{i:02}")).collect();
    for name in &names {
        world.cluster.create_namespace(name, &json!({"redis-log-shipper.io/inject": "enabled"}), &[]).await.unwrap();
        let patch = Patch::Merge(json!({"subjects": [group("somebody")]}));
        // The binding may be missing, or a replica may write it at this moment.
        let _ = world.bindings.patch(BINDING, &PatchParams::default(), &patch).await;
    }
    for name in names.iter().step_by(2) {
        world.label(name, &Value::Null).await;
    }
    let left: Vec<_> = std::iter::once("redis").chain(names.iter().skip(1).step_by(2).map(String::as_str)).collect();
    world.assert_becomes(&left).await;
}

/// It decided on an older state than the others wrote. Their write stands, and no failure is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_puts_no_older_state_over_a_newer_one() {
    let Some(servers) = Servers::find("manages_permissions").unwrap() else { return };
    let world = World::new(&servers).await;
    let opted_in = json!({"redis-log-shipper.io/inject": "enabled"});
    world.cluster.create_namespace("redis", &opted_in, &[]).await.unwrap();
    world.start_replicas();
    world.assert_becomes(&["redis"]).await;
    world.shutdown.cancel();
    let nobody = Patch::Merge(json!({"subjects": []}));
    world.bindings.patch(BINDING, &PatchParams::default(), &nobody).await.unwrap();

    let (held, shutdown, mut registry) = (Held::default(), CancellationToken::new(), Registry::default());
    let metrics = Metrics::register(&mut registry);
    let slow = held.client(world.cluster.client.clone());
    let slow = tokio::spawn(managed_rbac::keep(slow, metrics, shutdown.clone()));
    tokio::time::timeout(PATIENCE, held.arrived()).await.unwrap();
    world.cluster.create_namespace("late", &opted_in, &[]).await.unwrap();
    let subject = |name: &str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": format!("system:serviceaccounts:{name}")});
    let newer = Patch::Merge(json!({"subjects": [subject("late"), subject("redis")]}));
    world.bindings.patch(BINDING, &PatchParams::default(), &newer).await.unwrap();
    held.let_through();
    let metric = |name: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let name = format!("redis_log_webhook_managed_rbac_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    eventually("it has seen both namespaces", PATIENCE, || async { Ok((metric("namespaces") == 2).then_some(())) })
        .await
        .unwrap();
    assert_eq!((held.answers(), metric("failures_total")), (vec![409], 0));
    world.assert_becomes(&["late", "redis"]).await;
    shutdown.cancel();
    slow.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_of_another_role_is_counted_as_a_failure_and_made_anew_once_it_is_deleted() {
    let Some(servers) = Servers::find("manages_permissions").unwrap() else { return };
    let world = World::new(&servers).await;
    let other = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": BINDING},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [],
    });
    world.cluster.apply(&other).await.unwrap();
    world.cluster.create_namespace("redis", &json!({"redis-log-shipper.io/inject": "enabled"}), &[]).await.unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    tokio::spawn(managed_rbac::keep(world.cluster.client.clone(), metrics, world.shutdown.clone()));
    eventually("the failure is counted", PATIENCE, || async {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        let line = text.lines().find(|line| line.starts_with("redis_log_webhook_managed_rbac_failures_total"));
        Ok(line.is_some_and(|line| !line.ends_with(" 0")).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(world.bound().await, [""; 0], "nobody is bound to cluster-admin");
    world.bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    world.assert_becomes(&["redis"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rbac_prints_what_the_gateway_asks_for() {
    let Some(servers) = Servers::find("manages_permissions").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let webhook = harness::programs::program("redis-log-webhook").unwrap();
    cluster.create_namespace("redis", &json!({}), &[]).await.unwrap();
    // The gateway asks about a read in the namespaces of the query, and about a push in none.
    let asked = |account: &str, tenant: &str, verb: &str, namespace: &str| {
        json!({"spec": {
            "user": format!("system:serviceaccount:redis:{account}"),
            "groups": ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:redis"],
            "resourceAttributes": {
                "group": "loki.grafana.com", "resource": tenant, "name": "logs", "verb": verb, "namespace": namespace,
            },
        }})
    };
    let cases: [(&[&str], &str, &str, &str, &str); 4] = [
        (&["--service-account", "rec"], "rec", "other", "application", "create"),
        (&["--service-account", "grafana", "--access", "read"], "grafana", "other", "application", "get"),
        (&["--service-account", "rec", "--tenant", "audit"], "rec", "other", "audit", "create"),
        (&["--all-service-accounts", "--tenant", "infrastructure"], "whoever", "", "infrastructure", "create"),
    ];
    for (flags, account, another, tenant, verb) in cases {
        let namespace = if verb == "get" { "redis" } else { "" };
        let output = std::process::Command::new(&webhook).args(["rbac", "--namespace", "redis"]).args(flags).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let allowed_in = |namespace: &str, account: &str, verb: &str| {
            let review: SubjectAccessReview = serde_json::from_value(asked(account, tenant, verb, namespace)).unwrap();
            let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
            async move { api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed }
        };
        let allowed = |account: &str, verb: &str| allowed_in(namespace, account, verb);
        assert!(!allowed(account, verb).await, "{flags:?}: allowed before");
        for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            cluster.apply(&object).await.unwrap();
        }
        eventually("the permission is granted", PATIENCE, || async { Ok(allowed(account, verb).await.then_some(())) })
            .await
            .unwrap();
        assert!(!allowed(account, "delete").await, "{flags:?}: more than asked for");
        assert!(another.is_empty() || !allowed(another, verb).await, "{flags:?}: to {another} as well");
        assert!(verb != "get" || !allowed_in("", account, verb).await, "{flags:?}: the logs of every namespace");
    }
}
