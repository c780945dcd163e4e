//! Limits, quotas and policies judge a pod after the webhook. The pod is created and runs, with a sidecar where one fits.

use std::time::Duration;

use harness::process::eventually;
use harness::say;
use serde_json::{Value, json};

use super::redis::{Redis, container};
use super::world::{World, shared};

const PATIENCE: Duration = Duration::from_mins(1);

/// Creates a Redis Enterprise in a namespace that holds `judge`, and waits until its pod is Ready.
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

/// As [`judged`]. The pod must have no sidecar, and an Event must quote the `refusal`.
async fn steps_aside(world: &World, namespace: &str, judge: &Value, refusal: &str) {
    let (redis, pod) = judged(world, namespace, judge).await;
    assert!(container(&pod, "log-shipper").is_none(), "{pod:#}");
    let cluster = world.node.cluster().await.unwrap();
    let message = eventually("an Event of the refusal", PATIENCE, || async {
        let events = cluster.events(namespace).await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "LogShipperSteppedAside").map(|(_, message)| message))
    })
    .await
    .unwrap();
    assert!(message.contains(refusal), "{message}");
    say(&format!("{namespace}: {message}"));
    redis.remove();
}

fn judge(kind: &str, namespace: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "judge", "namespace": namespace}, "spec": spec})
}

fn policy(kind: &str, spec: &Value) -> Value {
    let api = "admissionregistration.k8s.io/v1";
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "no-sidecars"}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_requests_what_a_limit_range_allows() {
    let Some(world) = shared().await else { return };
    let limits = json!({"limits": [{"type": "Container", "min": {"memory": "96Mi", "cpu": "20m"}, "max": {"memory": "256Mi", "cpu": "60m"}}]});
    let (redis, pod) = judged(&world, "limit-range", &judge("LimitRange", "limit-range", &limits)).await;
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
    steps_aside(&world, "quota", &judge("ResourceQuota", "quota", &quota), "exceeded quota").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_runs_without_a_sidecar_where_a_policy_refuses_it() {
    let Some(world) = shared().await else { return };
    let cluster = world.node.cluster().await.unwrap();
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let refuses = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.containers.size() < 3", "message": "two containers are enough"}],
    });
    let binding = json!({
        "policyName": "no-sidecars",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy"}}},
    });
    let binding = policy("ValidatingAdmissionPolicyBinding", &binding);
    cluster.apply(&policy("ValidatingAdmissionPolicy", &refuses)).await.unwrap();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "policy"}})).await.unwrap();
    cluster.apply(&binding).await.unwrap();
    // The API server enforces a new policy after a moment.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {"containers": [
        {"name": "a", "image": "a"}, {"name": "b", "image": "b"}, {"name": "c", "image": "c"},
    ]}});
    eventually("the policy is enforced", PATIENCE, || async {
        Ok(cluster.create_pod("policy", &pod, true).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    steps_aside(&world, "policy", &binding, "two containers are enough").await;
}
