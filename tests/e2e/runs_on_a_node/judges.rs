//! What judges a pod after us: limits, quotas and policies of its namespace. The pod is made and runs, with a sidecar where one fits.

use std::time::Duration;

use harness::process::eventually;
use harness::say;
use serde_json::{Value, json};

use super::redis::{Redis, container};
use super::world::{World, shared};

const PATIENCE: Duration = Duration::from_mins(1);

/// Creates a Redis Enterprise whose namespace holds `judge`, and waits until its pod is Ready.
async fn judged<'a>(world: &'a World, namespace: &str, judge: &Value) -> (Redis<'a>, Value) {
    let cluster = world.node.cluster().await.unwrap();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.apply(&space).await.unwrap();
    cluster.apply(judge).await.unwrap();
    let redis = Redis::new(world, namespace);
    redis.create(&json!({}), |_| {}).await.unwrap();
    let pod = redis.ready("").await.unwrap();
    (redis, pod)
}

fn named(api: &str, kind: &str, namespace: &str, spec: &Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "judge", "namespace": namespace}, "spec": spec})
}

/// Waits for the Event that says why the pod has no sidecar, in the words of the refusal.
async fn stepped_aside(redis: &Redis<'_>, world: &World, pod: &Value, words: &str) {
    assert!(container(pod, "log-shipper").is_none(), "{pod:#}");
    let cluster = world.node.cluster().await.unwrap();
    let message = eventually("an Event says so", PATIENCE, || async {
        let events = cluster.events(&redis.namespace).await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "LogShipperSteppedAside").map(|(_, message)| message))
    })
    .await
    .unwrap();
    assert!(message.contains(words), "{message}");
    say(&format!("{}: {message}", redis.namespace));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_asks_for_what_a_limit_range_wants() {
    let Some(world) = shared().await else { return };
    let limits = json!({"limits": [{"type": "Container", "min": {"memory": "96Mi", "cpu": "20m"}, "max": {"memory": "256Mi", "cpu": "60m"}}]});
    let (redis, pod) = judged(&world, "limit-range", &named("v1", "LimitRange", "limit-range", &limits)).await;
    assert!(container(&pod, "log-shipper").is_some(), "{pod:#}");
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    redis.remove();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_runs_without_a_sidecar_where_the_quota_is_too_small_for_one() {
    let Some(world) = shared().await else { return };
    // Enough for Redis and its bootstrapper.
    let quota = json!({"hard": {"requests.cpu": "40m", "requests.memory": "256Mi", "limits.cpu": "40m", "limits.memory": "256Mi"}});
    let (redis, pod) = judged(&world, "quota", &named("v1", "ResourceQuota", "quota", &quota)).await;
    stepped_aside(&redis, &world, &pod, "exceeded quota").await;
    redis.remove();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_runs_without_a_sidecar_where_a_policy_refuses_it() {
    let Some(world) = shared().await else { return };
    let cluster = world.node.cluster().await.unwrap();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-sidecars"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": "object.spec.containers.size() < 3", "message": "two containers are enough"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-sidecars"},
        "spec": {
            "policyName": "no-sidecars",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy"}}},
        },
    });
    cluster.apply(&policy).await.unwrap();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "policy"}})).await.unwrap();
    cluster.apply(&binding).await.unwrap();
    // The API server takes a policy up after a moment.
    let pods = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": [
        {"name": "a", "image": "a"}, {"name": "b", "image": "b"}, {"name": "c", "image": "c"},
    ]}});
    eventually("the policy is in force", PATIENCE, || async {
        Ok(cluster.create_pod("policy", &pods, true).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    let (redis, pod) = judged(&world, "policy", &binding).await;
    stepped_aside(&redis, &world, &pod, "two containers are enough").await;
    redis.remove();
}
