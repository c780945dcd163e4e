//! Pods are created whatever happens to the webhook's own pods.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use harness::cluster::Cluster;
use harness::pod_fixture;
use harness::process::eventually;
use harness::say;
use serde_json::{Value, json};

use super::process;
use super::world::{World, alone, is_slow_wanted};

const PATIENCE: Duration = Duration::from_mins(1);
const OURS: &str = "redis-log-shipper";
const DEPLOYMENT: &str = "deployment/redis-log-webhook";
const PODS: usize = 100;

/// Creates a pod of Redis Enterprise that is never scheduled, and returns whether it has a sidecar.
async fn create(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<bool> {
    let mut pod = pod_fixture("a-vanilla")?;
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["schedulingGates"] = json!([{"name": "node.test/never"}]);
    let stored = cluster.create_pod(namespace, &pod, false).await?;
    let containers = stored["spec"]["containers"].as_array().context("no containers")?;
    Ok(containers.iter().any(|container| container["name"] == "log-shipper"))
}

async fn opted_in(world: &World, namespace: &str) -> Cluster {
    let cluster = world.node.cluster().await.unwrap();
    cluster.create_namespace(namespace, &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await.unwrap();
    cluster
}

/// The webhook's running pods.
async fn webhooks(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let pods = cluster.whole_pods(OURS).await?;
    Ok(pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
}

fn kubectl(world: &World, args: &[&str]) {
    world.node.kubectl(&[&["-n", OURS], args].concat()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_made_while_the_webhook_is_scaled_to_zero_or_stuck() {
    let Some(world) = alone().await else { return };
    let cluster = opted_in(&world, "webhook-away").await;
    assert!(create(&cluster, "webhook-away", "before").await.unwrap());

    kubectl(&world, &["scale", DEPLOYMENT, "--replicas=0"]);
    kubectl(
        &world,
        &["wait", "--for=delete", "pod", "--selector=app.kubernetes.io/name=redis-log-webhook", "--timeout=60s"],
    );
    let start = Instant::now();
    assert!(!create(&cluster, "webhook-away", "scaled").await.unwrap());
    say(&format!("without a webhook a pod is made in {:.1} s", start.elapsed().as_secs_f64()));

    kubectl(&world, &["scale", DEPLOYMENT, "--replicas=2"]);
    kubectl(&world, &["rollout", "status", DEPLOYMENT, "--timeout=60s"]);
    await_sidecars(&cluster, "scaled-up").await;

    let stuck = webhooks(&cluster).await.unwrap();
    let stuck: Vec<_> = stuck.iter().map(|pod| process::of(pod, "webhook").unwrap()).collect();
    for pid in &stuck {
        process::signal(*pid, "STOP").unwrap();
    }
    let start = Instant::now();
    let injected = create(&cluster, "webhook-away", "stuck").await;
    let took = start.elapsed();
    for pid in &stuck {
        process::signal(*pid, "CONT").unwrap();
    }
    assert!(!injected.unwrap());
    say(&format!("while the webhook is stuck a pod is made in {:.1} s", took.as_secs_f64()));
    await_sidecars(&cluster, "unstuck").await;
}

/// Waits until pods get sidecars again. kube-proxy follows the webhook's readiness within a second.
async fn await_sidecars(cluster: &Cluster, prefix: &str) {
    let mut number = 0;
    eventually("pods have sidecars again", PATIENCE, || {
        number += 1;
        let name = format!("{prefix}-{number}");
        async move { Ok(create(cluster, "webhook-away", &name).await?.then_some(())) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_of_a_hundred_has_its_sidecar_while_the_webhook_is_rolled_out() {
    if !is_slow_wanted("rollout") {
        return;
    }
    let Some(world) = alone().await else { return };
    let cluster = opted_in(&world, "rolled-out").await;
    let before = webhooks(&cluster).await.unwrap();
    kubectl(&world, &["rollout", "restart", DEPLOYMENT]);
    let mut bare = Vec::new();
    let mut made = 0;
    // Until the last old replica is gone, and for at least a hundred pods.
    while made < PODS || still_there(&cluster, &before).await.unwrap() {
        let name = format!("pod-{made}");
        if !create(&cluster, "rolled-out", &name).await.unwrap() {
            bare.push(name);
        }
        made += 1;
    }
    say(&format!("{made} pods were made during a rollout, {} without a sidecar", bare.len()));
    assert_eq!(bare, [""; 0]);
}

async fn still_there(cluster: &Cluster, before: &[Value]) -> anyhow::Result<bool> {
    let now = cluster.whole_pods(OURS).await?;
    Ok(now.iter().any(|pod| before.iter().any(|old| old["metadata"]["uid"] == pod["metadata"]["uid"])))
}
