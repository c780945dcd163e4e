//! On a real API server with the real controllers of StatefulSets and quotas: a pod is created even if a later check refuses
//! the sidecar, and the webhook leaves new pods alone while a sidecar does not start.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::controllers::{Controllers, stateful_set_of};
use harness::installation::Installation;
use harness::pod_fixture;
use harness::process::eventually;
use harness::servers::{Servers, Tools};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(2);
const LOKI: &str = "https://loki.example/loki/api/v1/push";

struct World {
    cluster: Cluster,
    _controllers: Controllers,
    installation: Installation,
}

impl World {
    async fn new(test: &str) -> Option<Self> {
        let (servers, tools) = (Servers::find(test).unwrap()?, Tools::find(test).unwrap()?);
        let cluster = Cluster::start(&servers).await.unwrap();
        let controllers = ["statefulset-controller", "resourcequota-controller"];
        let controllers = Controllers::start_only(&tools, &cluster, &controllers).await.unwrap();
        let installation = Installation::start(&cluster, LOKI).await.unwrap();
        Some(Self { cluster, _controllers: controllers, installation })
    }

    async fn namespace(&self, name: &str, limit: Option<Value>) {
        let labels = json!({"redis-log-shipper.io/inject": "enabled"});
        self.cluster.create_namespace(name, &labels, &["rec"]).await.unwrap();
        if let Some(mut limit) = limit {
            limit["apiVersion"] = json!("v1");
            limit["metadata"] = json!({"name": "bounds", "namespace": name});
            self.cluster.apply(&limit).await.unwrap();
        }
    }

    /// Waits until the namespace refuses a pod with the sidecar. The API server notices a quota or policy after a moment.
    async fn refusal(&self, namespace: &str) {
        eventually(&format!("{namespace} refuses the sidecar"), PATIENCE, || async {
            Ok(self.cluster.create_pod(namespace, &pod_fixture("a-vanilla")?, true).await.is_err().then_some(()))
        })
        .await
        .unwrap();
    }

    /// The one pod of a new StatefulSet.
    async fn pod(&self, namespace: &str) -> Value {
        self.cluster.apply(&stateful_set_of(&pod_fixture("a-vanilla").unwrap(), namespace, 1)).await.unwrap();
        self.next_pod(namespace, None).await
    }

    /// A pod of the namespace other than the one with this UID.
    async fn next_pod(&self, namespace: &str, before: Option<&Value>) -> Value {
        eventually(&format!("a pod in {namespace}"), PATIENCE, || async {
            let pods = self.cluster.whole_pods(namespace).await?;
            Ok(pods.into_iter().find(|pod| Some(&pod["metadata"]["uid"]) != before))
        })
        .await
        .unwrap()
    }

    async fn recreated(&self, namespace: &str, pod: &Value) -> Value {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        api.delete("rec-0", &DeleteParams::default().grace_period(0)).await.unwrap();
        self.next_pod(namespace, Some(&pod["metadata"]["uid"])).await
    }

    async fn event(&self, namespace: &str, reason: &str) -> String {
        eventually(&format!("an Event {reason} in {namespace}"), PATIENCE, || async {
            let events = self.cluster.events(namespace).await?;
            Ok(events.into_iter().find(|(is, _)| is == reason).map(|(_, message)| message))
        })
        .await
        .unwrap()
    }

    /// Sets the sidecar's status as a kubelet does.
    async fn report(&self, namespace: &str, state: &Value) {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let status = json!({"name": "log-shipper", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let patch = Patch::Merge(json!({"status": {"containerStatuses": [status]}}));
        api.patch_status("rec-0", &PatchParams::default(), &patch).await.unwrap();
    }
}

fn sidecar(pod: &Value) -> Option<&Value> {
    pod["spec"]["containers"].as_array().unwrap().iter().find(|container| container["name"] == "log-shipper")
}

fn range(kind: &str, bounds: &Value) -> Value {
    let mut limit = bounds.clone();
    limit["type"] = json!(kind);
    json!({"kind": "LimitRange", "spec": {"limits": [limit]}})
}

fn quota(hard: &Value) -> Value {
    json!({"kind": "ResourceQuota", "spec": {"hard": hard}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_namespace_allows_never_costs_the_pod() {
    let Some(world) = World::new("steps_aside").await else { return };
    // The webhook adapts to LimitRanges at the first attempt.
    world.namespace("least", Some(range("Container", &json!({"min": {"memory": "128Mi"}})))).await;
    world.namespace("tight", Some(range("Pod", &json!({"max": {"cpu": "2150m"}})))).await;
    world.namespace("shut", Some(range("Pod", &json!({"max": {"cpu": "2100m"}})))).await;
    for (namespace, at, amount) in
        [("least", "/resources/requests/memory", "128Mi"), ("tight", "/resources/limits/cpu", "50m")]
    {
        // A review does not wait for the watch on LimitRanges.
        eventually(&format!("the limits of {namespace} are known"), PATIENCE, || async {
            let dry = world.cluster.create_pod(namespace, &pod_fixture("a-vanilla")?, true).await;
            Ok(dry.ok().filter(|pod| sidecar(pod).is_some_and(|it| it.pointer(at) == Some(&json!(amount)))))
        })
        .await
        .unwrap();
        let pod = world.pod(namespace).await;
        assert_eq!(sidecar(&pod).unwrap().pointer(at), Some(&json!(amount)), "{namespace}");
        assert!(world.cluster.events(namespace).await.unwrap().iter().all(|(reason, _)| reason != "FailedCreate"));
    }
    assert!(sidecar(&world.pod("shut").await).is_none());
    let told = world.event("shut", "LogShipperNotInjected").await;
    assert!(told.contains("the LimitRange bounds leaves no cpu") && told.contains("type Pod"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_aside_for_a_pod_that_is_refused_with_the_sidecar() {
    let Some(world) = World::new("steps_aside").await else { return };
    world.namespace("full", Some(quota(&json!({"limits.cpu": "2150m"})))).await;
    world.namespace("counted", Some(quota(&json!({"requests.ephemeral-storage": "10Gi"})))).await;
    let mut set = stateful_set_of(&pod_fixture("a-vanilla").unwrap(), "counted", 1);
    for container in set["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
        container["resources"]["requests"]["ephemeral-storage"] = json!("1Gi");
    }
    world.cluster.apply(&set).await.unwrap();
    world.refusal("full").await;
    let started = std::time::Instant::now();
    let pod = world.pod("full").await;
    harness::say(&format!("a pod that a quota refused with its sidecar was there after {:?}", started.elapsed()));
    assert!(sidecar(&pod).is_none());
    let told = world.event("full", "LogShipperSteppedAside").await;
    assert!(told.contains("exceeded quota") && told.contains("raise the ResourceQuota"), "{told}");
    // The dry runs of `refusal` left no trace: the first real pod was injected and refused.
    let events = world.cluster.events("full").await.unwrap();
    let refused = events.iter().filter(|(reason, _)| reason == "FailedCreate").count();
    assert_eq!(refused, 1, "{events:?}");
    // If a quota counts CPU or memory, each container must name them. Other resources are optional.
    let counted = world.next_pod("counted", None).await;
    assert!(sidecar(&counted).is_some());
    // The next pod gets no sidecar either, without another refusal.
    let again = world.recreated("full", &pod).await;
    assert!(sidecar(&again).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_refuses_the_sidecar_does_not_cost_the_pod() {
    let Some(world) = World::new("steps_aside").await else { return };
    let kind = |kind: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "no-sidecars"}});
    let mut policy = kind("ValidatingAdmissionPolicy");
    policy["spec"] = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "validations": [{"expression": "object.spec.containers.all(c, c.name != 'log-shipper')", "message": "no sidecars here"}],
    });
    let mut binding = kind("ValidatingAdmissionPolicyBinding");
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "policed"}});
    binding["spec"] = json!({"policyName": "no-sidecars", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}});
    world.cluster.apply(&policy).await.unwrap();
    world.cluster.apply(&binding).await.unwrap();
    world.namespace("policed", None).await;
    world.refusal("policed").await;
    assert!(sidecar(&world.pod("policed").await).is_none());
    let told = world.event("policed", "LogShipperSteppedAside").await;
    assert!(told.contains("no sidecars here") && told.contains("exempt the container"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injects_again_where_the_pod_is_refused_without_the_sidecar_as_well() {
    let Some(world) = World::new("steps_aside").await else { return };
    world.namespace("shut", Some(quota(&json!({"pods": "0"})))).await;
    world.refusal("shut").await;
    world.cluster.apply(&stateful_set_of(&pod_fixture("a-vanilla").unwrap(), "shut", 1)).await.unwrap();
    world.event("shut", "LogShipperSteppedAside").await;
    // The pod without the sidecar is refused as well, so the next one is injected again.
    eventually("the pod is injected again", PATIENCE, || async {
        let log = world.installation.process.log();
        let outcomes: Vec<_> =
            log.lines().filter(|line| line.contains("\"shut\"") && line.contains("reviewed")).collect();
        let aside = outcomes.iter().position(|line| line.contains("stepped_aside"));
        Ok(aside.filter(|at| outcomes.iter().skip(*at).any(|line| line.contains("\"injected\""))).map(|_| ()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_does_not_start_leaves_the_next_pods_alone_until_one_runs() {
    let Some(world) = World::new("steps_aside").await else { return };
    world.namespace("fused", None).await;
    let pod = world.pod("fused").await;
    assert!(sidecar(&pod).is_some());
    world.report("fused", &json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})).await;
    let told = world.event("fused", "LogShipperFuseBlown").await;
    assert!(told.contains("pod rec-0") && told.contains("ImagePullBackOff: not found"), "{told}");
    let untouched = world.recreated("fused", &pod).await;
    assert!(sidecar(&untouched).is_none(), "the fuse has blown");

    // In another namespace the fuse closes when the sidecar starts after all.
    world.namespace("mended", None).await;
    let pod = world.pod("mended").await;
    world.report("mended", &json!({"waiting": {"reason": "ErrImagePull"}})).await;
    world.event("mended", "LogShipperFuseBlown").await;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    world.report("mended", &json!({"running": {"startedAt": now}})).await;
    eventually("the fuse closes", PATIENCE, || async {
        Ok(world.installation.process.log().contains("a log shipper runs again").then_some(()))
    })
    .await
    .unwrap();
    assert!(sidecar(&world.recreated("mended", &pod).await).is_some());
}
