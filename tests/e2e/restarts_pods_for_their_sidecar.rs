//! `redis-log-webhook rollout` on a real API server with the real controllers of StatefulSets and budgets. The test is the
//! kubelet: it makes pods Ready, or does not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::cluster::Cluster;
use harness::controllers::{Controllers, stateful_set_of};
use harness::installation::{Installation, NAMESPACE};
use harness::pod_fixture;
use harness::process::eventually;
use harness::programs::program;
use harness::servers::{Servers, Tools};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
const LOKI: &str = "https://loki.example/loki/api/v1/push";
const LABEL: &str = "redis-log-shipper.io/inject";
const HASH: &str = "redis-log-shipper.io/hash";
const CONTROLLERS: [&str; 3] = ["statefulset-controller", "disruption-controller", "resourcequota-controller"];

/// A namespace with Redis Enterprise pods, on a cluster with the webhook.
struct World {
    cluster: Cluster,
    _controllers: Controllers,
    installation: Installation,
    kubelet: Kubelet,
}

/// Makes the pods of a namespace Ready, except the stuck ones.
#[derive(Clone, Default)]
struct Kubelet {
    stuck: Arc<Mutex<BTreeSet<String>>>,
}

impl Kubelet {
    fn stick(&self, pod: &str) {
        self.stuck.lock().unwrap().insert(pod.to_owned());
    }

    fn release(&self) {
        self.stuck.lock().unwrap().clear();
    }

    async fn run(self, client: kube::Client, namespace: String) {
        let pods: Api<Pod> = Api::namespaced(client, &namespace);
        loop {
            for pod in pods.list(&ListParams::default()).await.map(|pods| pods.items).unwrap_or_default() {
                let name = pod.metadata.name.clone().unwrap();
                let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
                let is_ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
                if is_ready || self.stuck.lock().unwrap().contains(&name) {
                    continue;
                }
                let containers: Vec<_> = pod.spec.unwrap().containers.iter().map(|container| {
                    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                    json!({"name": container.name, "image": "x", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": now}}})
                }).collect();
                let conditions = [json!({"type": "Ready", "status": "True"})];
                let status = json!({"phase": "Running", "conditions": conditions, "containerStatuses": containers});
                // The pod may be gone meanwhile.
                let _ =
                    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl World {
    /// A cluster with three pods `rec-0` to `rec-2` without a sidecar in `namespace`, which is not labelled.
    async fn new(namespace: &str) -> Option<Self> {
        let test = "restarts_pods_for_their_sidecar";
        let (servers, tools) = (Servers::find(test).unwrap()?, Tools::find(test).unwrap()?);
        let cluster = Cluster::start(&servers).await.unwrap();
        let controllers = Controllers::start_only(&tools, &cluster, &CONTROLLERS).await.unwrap();
        let installation = Installation::start(&cluster, LOKI).await.unwrap();
        let world = Self { cluster, _controllers: controllers, installation, kubelet: Kubelet::default() };
        world.cluster.create_namespace(namespace, &json!({}), &["rec"]).await.unwrap();
        world.cluster.apply(&stateful_set_of(&pod_fixture("a-vanilla").unwrap(), namespace, 3)).await.unwrap();
        tokio::spawn(world.kubelet.clone().run(world.cluster.client.clone(), namespace.to_owned()));
        eventually("three pods are Ready", PATIENCE, || async {
            let pods = world.cluster.whole_pods(namespace).await?;
            Ok((pods.len() == 3 && pods.iter().all(is_ready)).then_some(()))
        })
        .await
        .unwrap();
        Some(world)
    }

    async fn label(&self, namespace: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {LABEL: "enabled"}}});
        self.cluster.apply(&object).await.unwrap();
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program("redis-log-webhook").unwrap());
        command.arg("rollout").args(args).env("KUBECONFIG", &self.cluster.kubeconfig).kill_on_drop(true);
        command
    }

    async fn rollout(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().await.unwrap())
    }

    /// Runs the command with the permissions that docs/install.md lists, and no others.
    async fn rollout_as_a_person(&self, namespace: &str) -> Ended {
        let allow = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
        let rules = [
            allow("", "namespaces", "get"),
            allow("", "pods", "list"),
            allow("apps", "statefulsets", "get"),
            allow("", "pods", "create"),
            allow("", "pods/eviction", "create"),
            allow("", "events", "list"),
        ];
        let object = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "person", "namespace": namespace}});
        let (mut role, mut binding) = (object("Role"), object("RoleBinding"));
        role["rules"] = json!(rules);
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "person"});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "person", "namespace": "people"}]);
        self.cluster.create_namespace("people", &json!({}), &["person"]).await.unwrap();
        self.cluster.apply(&role).await.unwrap();
        self.cluster.apply(&binding).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (token, ca, kubeconfig) = (dir.path().join("token"), dir.path().join("ca.crt"), dir.path().join("config"));
        std::fs::write(&token, self.cluster.token("people", "person", 3600).await.unwrap()).unwrap();
        std::fs::write(&ca, &self.cluster.ca).unwrap();
        std::fs::write(&kubeconfig, self.cluster.kubeconfig_of(&token, &ca)).unwrap();
        let mut command = self.command(&[namespace]);
        Ended::of(command.arg("--kubeconfig").arg(kubeconfig).output().await.unwrap())
    }

    /// The pods: name, and UID with the whole resource version.
    async fn pods(&self, namespace: &str) -> BTreeMap<String, Value> {
        let pods = self.cluster.whole_pods(namespace).await.unwrap();
        pods.into_iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod)).collect()
    }
}

/// A pod without a controller.
fn alone() -> Value {
    let mut pod = pod_fixture("a-vanilla").unwrap();
    pod["metadata"]["name"] = json!("alone-0");
    pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    pod
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
}

fn has_sidecar(pod: &Value) -> bool {
    pod["spec"]["containers"].as_array().unwrap().iter().any(|container| container["name"] == "log-shipper")
}

/// The names of the pods that another pod replaced.
fn replaced<'a>(before: &'a BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<&'a str> {
    let uid = |pods: &BTreeMap<String, Value>, name: &str| pods.get(name).map(|pod| pod["metadata"]["uid"].clone());
    before.keys().filter(|name| uid(before, name) != uid(after, name)).map(String::as_str).collect()
}

/// A command that has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    progress: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), progress: text(output.stderr) }
    }

    fn stopped_with(&self, code: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.progress.contains(&format!("stopped: {code}: ")), "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_one_pod_after_the_other_and_only_those_that_need_it() {
    let Some(world) = World::new("redis").await else { return };
    // Nobody would create this pod again.
    world.cluster.create_pod("redis", &alone(), false).await.unwrap();
    eventually("the pod alone is Ready", PATIENCE, || async {
        Ok(world.pods("redis").await.values().all(is_ready).then_some(()))
    })
    .await
    .unwrap();
    let before = world.pods("redis").await;
    let unlabelled = world.rollout(&["redis"]).await;
    unlabelled.stopped_with("RLS201");
    assert!(unlabelled.progress.contains("kubectl label namespace redis"), "{unlabelled:?}");

    world.label("redis").await;
    let plan = world.rollout(&["redis", "--dry-run"]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let expected = "\
redis: 3 of 4 Redis Enterprise pods to restart, in this order:
  restart  rec-2: it has no sidecar
  restart  rec-1: it has no sidecar
  keep     alone-0: it has no controller, so nobody would create it again
  restart  rec-0: it has no sidecar
";
    assert_eq!(plan.out, expected);
    assert_eq!(world.pods("redis").await, before, "a dry run touches nothing");

    let done = world.rollout_as_a_person("redis").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.ends_with("restarted 3 pods of redis\n"), "{done:?}");
    harness::say(&format!("a rollout of three pods:\n{}{}", done.out, done.progress));
    let is_step = |line: &&str| !line.starts_with(' ') && !line.starts_with("note: ");
    let steps: Vec<_> = done.progress.lines().filter(is_step).collect();
    for (number, (pod, step)) in ["rec-2", "rec-1", "rec-0"].into_iter().zip(steps.chunks(2)).enumerate() {
        let start = format!("{}/3 {pod}: ", number + 1);
        assert!(step[0].starts_with(&format!("{start}evicting it")), "{steps:?}");
        assert!(step[1].starts_with(&format!("{start}Ready with its sidecar")), "{steps:?}");
    }
    let after = world.pods("redis").await;
    assert_eq!(replaced(&before, &after), ["rec-0", "rec-1", "rec-2"]);
    assert!(after.iter().all(|(name, pod)| has_sidecar(pod) == (name != "alone-0")));
    let again = world.rollout(&["redis", "--drift"]).await;
    assert!(
        again.out.contains("redis: 0 of 4") && again.out.contains("rec-1: it has the current sidecar"),
        "{again:?}"
    );

    // A sidecar of another version is replaced only on request. The master comes last.
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), "redis");
    for (pod, labels) in [("rec-2", json!({"redis.io/role-master": "1"})), ("rec-0", json!({}))] {
        let metadata = json!({"metadata": {"annotations": {HASH: "of another version"}, "labels": labels}});
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(metadata)).await.unwrap();
    }
    let kept = world.rollout(&["redis"]).await;
    assert!(
        kept.out.contains("(RLS208); --drift restarts it") && kept.out.ends_with("restarted 0 pods of redis\n"),
        "{kept:?}"
    );
    let drift = world.rollout(&["redis", "--drift"]).await;
    assert_eq!(drift.code, Some(0), "{drift:?}");
    assert_eq!(replaced(&after, &world.pods("redis").await), ["rec-0", "rec-2"]);
    let place = |pod: &str| drift.progress.find(&format!("{pod}: evicting")).unwrap();
    assert!(place("rec-0") < place("rec-2"), "{drift:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_at_a_pod_that_does_not_come_back_and_goes_on_when_it_is_ready() {
    let Some(world) = World::new("redis").await else { return };
    world.label("redis").await;
    let before = world.pods("redis").await;
    world.kubelet.stick("rec-2");
    let stuck = world.rollout(&["redis", "--timeout", "3s"]).await;
    stuck.stopped_with("RLS214");
    assert!(stuck.progress.contains("pod rec-2 is not Ready 3 s after its eviction"), "{stuck:?}");
    let first = world.pods("redis").await;
    assert_eq!(replaced(&before, &first), ["rec-2"]);
    // The same command touches no other pod while this one is not Ready.
    let still = world.rollout(&["redis", "--timeout", "2s"]).await;
    still.stopped_with("RLS214");
    assert!(still.progress.contains("before pod rec-1, pod rec-2 is not Ready"), "{still:?}");
    assert_eq!(replaced(&first, &world.pods("redis").await), [""; 0]);
    // A signal between two steps is safe as well.
    let waiting = world.command(&["redis"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let signalled = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = waiting.id().unwrap().to_string();
        assert!(tokio::process::Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    };
    signalled.await;
    let interrupted = Ended::of(waiting.wait_with_output().await.unwrap());
    assert_eq!(interrupted.code, Some(1), "{interrupted:?}");
    assert!(interrupted.progress.contains("interrupted before pod rec-1"), "{interrupted:?}");
    assert_eq!(replaced(&first, &world.pods("redis").await), [""; 0]);

    world.kubelet.release();
    let resumed = world.rollout(&["redis"]).await;
    assert!(resumed.out.ends_with("restarted 2 pods of redis\n"), "{resumed:?}");
    let last = world.pods("redis").await;
    assert_eq!(replaced(&first, &last), ["rec-0", "rec-1"]);
    assert!(last.values().all(has_sidecar));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_while_a_budget_refuses_and_names_it() {
    let Some(world) = World::new("redis").await else { return };
    world.label("redis").await;
    let before = world.pods("redis").await;
    let budget = |least: u32| {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "rec-budget", "namespace": "redis"},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "redis-enterprise"}}},
        })
    };
    world.cluster.apply(&budget(3)).await.unwrap();
    let refused = world.rollout(&["redis", "--timeout", "3s"]).await;
    refused.stopped_with("RLS216");
    assert!(refused.progress.contains("The disruption budget rec-budget"), "{refused:?}");
    assert_eq!(replaced(&before, &world.pods("redis").await), [""; 0]);

    let mut waiting = world.command(&["redis"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = tokio::io::BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("the eviction is refused: The disruption budget rec-budget needs 3 healthy pods and has 3") {
        line.clear();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut progress, &mut line).await.unwrap();
        assert!(read > 0, "it ended without a wait for the budget");
    }
    world.cluster.apply(&budget(2)).await.unwrap();
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut progress, &mut rest).await.unwrap();
    let done = Ended::of(waiting.wait_with_output().await.unwrap());
    assert!(done.code == Some(0) && done.out.ends_with("restarted 3 pods of redis\n"), "{done:?} {rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_at_a_pod_that_came_back_without_the_sidecar() {
    let Some(world) = World::new("redis").await else { return };
    world.label("redis").await;
    let before = world.pods("redis").await;
    // Three pods fit, but not if one of them has a sidecar.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": "redis"},
        "spec": {"hard": {"limits.cpu": "6350m"}},
    });
    world.cluster.apply(&quota).await.unwrap();
    eventually("the quota refuses another pod", PATIENCE, || async {
        Ok(world.cluster.create_pod("redis", &alone(), true).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    // The quota refuses the trial. Without a ready replica, too, nothing says that the API server reaches the webhook.
    let refused = world.rollout(&["redis"]).await;
    refused.stopped_with("RLS102");
    let ready = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "webhook", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "redis-log-webhook"}},
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}],
    });
    world.cluster.apply(&ready).await.unwrap();
    let stopped = world.rollout(&["redis"]).await;
    stopped.stopped_with("RLS209");
    assert!(stopped.progress.contains("pod rec-2 came back without the sidecar"), "{stopped:?}");
    assert!(stopped.progress.contains("raise the ResourceQuota"), "{stopped:?}");
    assert_eq!(replaced(&before, &world.pods("redis").await), ["rec-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_where_a_restart_would_gain_nothing() {
    let Some(world) = World::new("redis").await else { return };
    world.label("redis").await;
    let before = world.pods("redis").await;
    world.installation.process.terminate(PATIENCE).await.unwrap();
    let cluster = world.cluster;
    let rollout = || async {
        let mut command = tokio::process::Command::new(program("redis-log-webhook").unwrap());
        Ended::of(command.args(["rollout", "redis"]).env("KUBECONFIG", &cluster.kubeconfig).output().await.unwrap())
    };
    let away = rollout().await;
    away.stopped_with("RLS102");
    assert!(away.progress.contains("a trial pod in redis (a dry run) got no sidecar"), "{away:?}");
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "redis-log-shipper"},
    });
    let (api, name) = cluster.api_of(&configuration).unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let started = std::time::Instant::now();
    rollout().await.stopped_with("RLS101");
    harness::say(&format!("RLS101: rollout after {:.1} s", started.elapsed().as_secs_f32()));
    let pods = cluster.whole_pods("redis").await.unwrap();
    assert!(pods.iter().all(|pod| before.values().any(|old| old == pod)), "nothing was touched");
}
