//! On a real API server: of two replicas one audits the pods, and tells each owner once, also after the other one takes over.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use harness::cluster::Cluster;
use harness::owners::owned;
use harness::process::eventually;
use harness::servers::Servers;
use harness::{pod_fixture, read_object, repository};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams};
use prometheus_client::registry::Registry;
use redis_log_webhook::admission::{Verdict, judge};
use redis_log_webhook::cluster::auditor::Auditor;
use redis_log_webhook::cluster::knowledge::Knowledge;
use redis_log_webhook::cluster::lease::Times;
use redis_log_webhook::cluster::rbac::{Access, Accounts, Permission};
use redis_log_webhook::config::Config;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_mins(1);
const INSTALLATION: &str = "redis-log-shipper";
/// Short, so that the test does not wait long for a new holder.
const TIMES: Times =
    Times { duration: Duration::from_secs(4), deadline: Duration::from_secs(3), interval: Duration::from_secs(1) };

struct World {
    cluster: Cluster,
    config: Arc<ArcSwap<Config>>,
}

/// One replica of the webhook that only audits.
struct Replica {
    identity: &'static str,
    registry: Registry,
    tasks: [JoinHandle<()>; 2],
}

impl World {
    async fn new(servers: &Servers) -> Self {
        let cluster = Cluster::start(servers).await.unwrap();
        cluster.create_namespace(INSTALLATION, &json!({}), &[]).await.unwrap();
        let lease = repository().join("manifests/components/audit/lease.yaml");
        cluster.apply(&read_object(&lease).unwrap()).await.unwrap();
        Self { cluster, config: Arc::new(ArcSwap::from_pointee(Config::default())) }
    }

    fn replica(&self, identity: &'static str) -> Replica {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (events, queue) = Events::new(metrics.clone());
        let auditor = Auditor {
            client: self.cluster.client.clone(),
            config: self.config.clone(),
            knowledge: Knowledge::default(),
            events,
            metrics,
            namespace: INSTALLATION.to_owned(),
            identity: identity.to_owned(),
            times: TIMES,
            asks_permissions: true,
            fits_limits: false,
        };
        let sending = tokio::spawn(queue.send(self.cluster.client.clone()));
        Replica { identity, registry, tasks: [sending, tokio::spawn(auditor.follow())] }
    }

    async fn namespace(&self, name: &str, labels: &Value, may_push: bool) {
        self.cluster.create_namespace(name, labels, &["rec"]).await.unwrap();
        if may_push {
            let (namespace, tenant) = (name.to_owned(), "application".to_owned());
            let (account_namespace, accounts, access) = (namespace.clone(), Accounts::All, Access::Write);
            let permission = Permission { namespace, account_namespace, accounts, tenant, access };
            for object in permission.objects() {
                self.cluster.apply(&object).await.unwrap();
            }
        }
    }

    /// Creates a pod with or without the sidecar: no webhook is registered here.
    async fn pod(&self, namespace: &str, with_sidecar: bool) {
        let fixture = pod_fixture("a-vanilla").unwrap();
        let mut pod = owned(&self.cluster, namespace, ("StatefulSet", "rec"), &fixture).await.unwrap();
        if with_sidecar {
            let Verdict::Injected(patch) = judge(&pod, Some(namespace), &self.config.load()).verdict else {
                panic!("the pod is not injected")
            };
            json_patch::patch(&mut pod, &patch).unwrap();
        }
        self.cluster.create_pod(namespace, &pod, false).await.unwrap();
    }

    async fn holder(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client.clone(), INSTALLATION);
        leases.get("redis-log-webhook-audit").await.unwrap().spec?.holder_identity
    }

    /// The codes of the Events in a namespace, sorted.
    async fn told(&self, namespace: &str) -> Vec<String> {
        let events = self.cluster.events(namespace).await.unwrap();
        let code = |message: &str| message.split(' ').find(|word| word.starts_with("RLS")).map(str::to_owned);
        let mut codes: Vec<_> = events.iter().filter_map(|(_, message)| code(message)).collect();
        codes.sort();
        codes
    }

    async fn assert_told(&self, namespace: &str, expected: &[&str]) {
        let what = format!("the owner in {namespace} is told {expected:?}");
        let told = eventually(&what, PATIENCE, || async {
            let told = self.told(namespace).await;
            Ok((told.len() >= expected.len()).then_some(told))
        });
        assert_eq!(told.await.unwrap(), expected, "{namespace}");
    }
}

impl Replica {
    /// The gauge of a finding; `None` on a replica that does not audit.
    fn finding(&self, code: &str) -> Option<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let start = format!("redis_log_webhook_findings{{code=\"{code}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    async fn assert_finds(&self, expected: &[(&str, u64)]) {
        let found = || expected.iter().map(|(code, _)| (*code, self.finding(code))).collect::<Vec<_>>();
        let expected: Vec<_> = expected.iter().map(|(code, count)| (*code, Some(*count))).collect();
        let all = eventually("the gauges", PATIENCE, || async { Ok((found() == expected).then_some(())) });
        if all.await.is_err() {
            assert_eq!(found(), expected);
        }
    }

    /// Ends without a goodbye, as a node does that fails.
    fn kill(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn next_second() {
    let now = jiff::Timestamp::now().as_second();
    let is_later = || async { Ok((jiff::Timestamp::now().as_second() > now).then_some(())) };
    eventually("the next second", PATIENCE, is_later).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_counts_and_tells_what_is_wrong_and_the_next_one_does_not_tell_it_again() {
    let Some(servers) = Servers::find("one_replica_counts_and_tells_what_is_wrong").unwrap() else { return };
    let world = World::new(&servers).await;
    let labels = json!({"redis-log-shipper.io/inject": "enabled"});
    for (namespace, labels, may_push) in [
        ("late", &json!({}), true),
        ("away", &labels, true),
        ("whole", &labels, true),
        ("refused", &labels, false),
        ("stranger", &json!({}), false),
    ] {
        world.namespace(namespace, labels, may_push).await;
    }
    world.pod("late", false).await;
    world.pod("stranger", false).await;
    world.pod("whole", true).await;
    world.pod("refused", true).await;
    next_second().await;
    world.pod("away", false).await;
    let namespaces: Api<Namespace> = Api::all(world.cluster.client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": labels}}));
    namespaces.patch("late", &PatchParams::default(), &label).await.unwrap();

    let replicas = [world.replica("a"), world.replica("b")];
    let holder = eventually("a replica is elected", PATIENCE, || async { Ok(world.holder().await) }).await.unwrap();
    let (leader, other) = if holder == "a" { (&replicas[0], &replicas[1]) } else { (&replicas[1], &replicas[0]) };
    leader.assert_finds(&[("RLS202", 1), ("RLS203", 1), ("RLS208", 0), ("RLS213", 0), ("RLS301", 1)]).await;
    assert_eq!((leader.identity, other.finding("RLS202")), (holder.as_str(), None), "only one replica has gauges");
    for (namespace, code) in [("late", "RLS202:"), ("away", "RLS203:"), ("refused", "RLS301:")] {
        world.assert_told(namespace, &[code]).await;
    }

    // The leader dies. The other one finds the same, and what is new.
    leader.kill();
    let restarted = json!({"name": "log-shipper", "image": "x", "imageID": "", "ready": true, "restartCount": 7});
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), "whole");
    let status = Patch::Merge(json!({"status": {"containerStatuses": [restarted]}}));
    let name = world.cluster.pods("whole").await.unwrap().remove(0);
    pods.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
    let newer = Config { image: "registry.example/redis-log-shipper:2".to_owned(), ..Config::default() };
    world.config.store(Arc::new(newer));
    other.assert_finds(&[("RLS202", 1), ("RLS203", 1), ("RLS208", 2), ("RLS213", 1), ("RLS301", 1)]).await;
    world.assert_told("whole", &["RLS208:", "RLS213:"]).await;
    world.assert_told("refused", &["RLS208:", "RLS301:"]).await;
    for (namespace, code) in [("late", "RLS202:"), ("away", "RLS203:")] {
        world.assert_told(namespace, &[code]).await;
    }
    assert_eq!(world.holder().await.as_deref(), Some(other.identity));
    assert_eq!(world.told("stranger").await, [""; 0], "its namespace did not opt in");
}
