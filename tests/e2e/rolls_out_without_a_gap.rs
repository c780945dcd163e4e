//! A real controller manager creates the webhook's pods from the rendered Deployment, in the namespace that enforces Pod
//! Security `restricted`. A rollout and the drain of nodes always leave a replica that answers.
//!
//! One thing differs from a cluster: there is no kubelet, so the test sets which pods are Ready.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::Duration;

use harness::cluster::Cluster;
use harness::controllers::Controllers;
use harness::manifests::{apply, render};
use harness::process::eventually;
use harness::servers::{Servers, Tools};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, EvictParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "redis-log-shipper";
const NAME: &str = "redis-log-webhook";
const CONTROLLERS: [&str; 3] = ["deployment-controller", "replicaset-controller", "disruption-controller"];

struct World {
    cluster: Cluster,
    objects: Vec<Value>,
    _controllers: Controllers,
}

impl World {
    /// The overlay `plain`, with both replicas ready.
    async fn new() -> Option<Self> {
        let servers = Servers::find("rolls_out_without_a_gap").unwrap()?;
        let tools = Tools::find("rolls_out_without_a_gap").unwrap()?;
        let cluster = Cluster::start(&servers).await.unwrap();
        let objects = render(&servers.kustomize, "overlays/plain").unwrap();
        apply(&cluster, &objects).await.unwrap();
        let controllers = Controllers::start_only(&tools, &cluster, &CONTROLLERS).await.unwrap();
        let world = Self { cluster, objects, _controllers: controllers };
        for pod in world.become_many(2, 0).await {
            world.make_ready(&pod).await;
        }
        world.available(2).await;
        Some(world)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }

    /// Waits for `all` pods, `new` of them with the new image, and returns the names of those that are not Ready.
    async fn become_many(&self, all: usize, new: usize) -> Vec<String> {
        eventually(&format!("{all} pods, {new} of them new"), PATIENCE, || async {
            let pods = self.cluster.whole_pods(NAMESPACE).await?;
            let is_new = |pod: &&Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().ends_with(":new");
            let are = pods.len() == all && pods.iter().filter(is_new).count() == new;
            let waiting = pods.iter().filter(|pod| !is_ready(pod));
            let waiting = waiting.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned());
            Ok(are.then(|| waiting.collect()))
        })
        .await
        .unwrap()
    }

    async fn available(&self, replicas: i32) {
        eventually(&format!("{replicas} replicas answer"), PATIENCE, || async {
            let status = self.deployments().get(NAME).await?.status.unwrap_or_default();
            Ok((status.available_replicas == Some(replicas)).then_some(()))
        })
        .await
        .unwrap();
    }

    /// A client that does not retry a refusal. Other clients retry for a minute.
    async fn impatient(&self) -> Api<Pod> {
        let kubeconfig = Kubeconfig::read_from(&self.cluster.kubeconfig).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        Api::namespaced(kube::Client::try_from(config).unwrap(), NAMESPACE)
    }

    /// Sets the status that a kubelet would set.
    async fn make_ready(&self, pod: &str) {
        let now = jiff::Timestamp::now().to_string();
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
        let patch = Patch::Merge(json!({"status": {"phase": "Running", "conditions": [ready]}}));
        self.pods().patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_for_a_new_replica_before_it_takes_an_old_one_away() {
    let Some(mut world) = World::new().await else { return };
    let deployment = world.objects.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.example.com/webhook:new");
    apply(&world.cluster, &world.objects).await.unwrap();
    for (all, new) in [(3, 1), (3, 2)] {
        // The new replica is not Ready yet, and both old ones are still there.
        let waiting = world.become_many(all, new).await;
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        world.available(2).await;
        world.make_ready(&waiting[0]).await;
    }
    assert_eq!(world.become_many(2, 2).await, [""; 0]);
    world.available(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_drained_one_replica_at_a_time() {
    let Some(world) = World::new().await else { return };
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.cluster.client.clone(), NAMESPACE);
    eventually("the budget allows one", PATIENCE, || async {
        let status = budgets.get(NAME).await?.status.unwrap_or_default();
        Ok((status.disruptions_allowed == 1).then_some(()))
    })
    .await
    .unwrap();
    let (pods, before) = (world.impatient().await, world.cluster.pods(NAMESPACE).await.unwrap());
    pods.evict(&before[0], &EvictParams::default()).await.unwrap();
    // A new replica is created and is not Ready yet.
    let waiting = eventually("another replica", PATIENCE, || async {
        let pods = world.cluster.pods(NAMESPACE).await?;
        Ok(pods.into_iter().find(|pod| !before.contains(pod)))
    });
    let waiting = waiting.await.unwrap();
    let refused = pods.evict(&before[1], &EvictParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 429), "{refused}");
    world.make_ready(&waiting).await;
    eventually("the next node is drained", PATIENCE, || async {
        Ok(pods.evict(&before[1], &EvictParams::default()).await.is_ok().then_some(()))
    })
    .await
    .unwrap();
}
