//! The README's promise: edit only the Loki URL of an overlay, apply it, label the namespace, restart a pod, and both queries
//! return lines. It is tested on a plain cluster and on one with OpenShift Logging's gateway before the store.
//!
//! The store is VictoriaLogs, whose queries select streams as LogQL does, and also a real Loki if there is one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::path::Path;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::controllers::{Controllers, stateful_set_of};
use harness::gateway::{Gateway, Setup, is_possible};
use harness::installation::Installation;
use harness::kubelet::Container;
use harness::manifests::{define_custom_resources, render};
use harness::pod_fixture;
use harness::process::{Process, eventually};
use harness::programs::program;
use harness::servers::{Servers, Tools, loki};
use harness::store::{Store, selector};
use harness::writer::LogFile;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "redis-enterprise";
const PATIENCE: Duration = Duration::from_mins(1);
const LINES: usize = 20;

/// A store, and a cluster with a Redis Enterprise that is not injected yet.
struct World {
    cluster: Cluster,
    store: Store,
    servers: Servers,
    tools: Tools,
    _controllers: Controllers,
}

impl World {
    /// The store is the Loki at this path, or a VictoriaLogs.
    async fn new(loki: Option<&Path>, account: &str, pod: &str) -> Option<Self> {
        let servers = Servers::find("answers_after_three_commands").unwrap()?;
        let tools = Tools::find("answers_after_three_commands").unwrap()?;
        let cluster = Cluster::start(&servers).await.unwrap();
        let store = match loki {
            Some(binary) => Store::loki(binary).await.unwrap(),
            None => Store::victoria_logs(&servers.victoria_logs).await.unwrap(),
        };
        let controllers = Controllers::start(&tools, &cluster).await.unwrap();
        cluster.create_namespace(NAMESPACE, &json!({}), &[account]).await.unwrap();
        cluster.apply(&stateful_set_of(&pod_fixture(pod).unwrap(), NAMESPACE, 1)).await.unwrap();
        let world = Self { cluster, store, servers, tools, _controllers: controllers };
        let pod = world.pod("").await;
        assert!(!is_injected(&pod), "nobody was told yet");
        Some(world)
    }

    /// Waits for a pod other than `before`.
    async fn pod(&self, before: &str) -> Value {
        eventually("a pod of the StatefulSet", PATIENCE, || async {
            let pods = self.cluster.whole_pods(NAMESPACE).await?;
            Ok(pods.into_iter().find(|pod| pod["metadata"]["uid"] != before))
        })
        .await
        .unwrap()
    }

    /// Labels the namespace, restarts the pod and returns the new one.
    async fn opt_in_and_restart(&self) -> Value {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let label = Patch::Merge(json!({"metadata": {"labels": {"redis-log-shipper.io/inject": "enabled"}}}));
        namespaces.patch(NAMESPACE, &PatchParams::default(), &label).await.unwrap();
        let before = self.pod("").await;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        pods.delete(before["metadata"]["name"].as_str().unwrap(), &DeleteParams::default()).await.unwrap();
        self.pod(before["metadata"]["uid"].as_str().unwrap()).await
    }

    /// Runs the sidecar of `pod` as a node does while Redis Enterprise writes, then runs the queries.
    async fn assert_answers(&self, pod: &Value) {
        assert!(is_injected(pod), "{pod:#}");
        let node = tempfile::tempdir().unwrap();
        let container = Container::new(pod, "log-shipper", node.path()).unwrap();
        container.make_volumes(&self.cluster).await.unwrap();
        let command = container.command(&program("redis-log-shipper").unwrap()).unwrap();
        let mut files = LogFile::open_all(&container.path("/var/opt/redislabs/log")).unwrap();
        for file in &mut files {
            file.write(LINES).unwrap();
        }
        let _shipper = Process::start("redis-log-shipper", &command, node.path()).unwrap();
        let written: usize = files.iter().map(|file| file.written.len()).sum();
        let of_dmcproxy = files.iter().find(|file| file.stem == "dmcproxy").unwrap().written.len();
        let job = ("job", "redis-enterprise-internal");
        let queries = [(vec![job], written), (vec![job, ("log_file", "dmcproxy")], of_dmcproxy)];
        let readme = std::fs::read_to_string(harness::repository().join("README.md")).unwrap();
        for (labels, expected) in queries {
            let query = selector(&labels);
            assert!(readme.contains(&query), "{query}");
            eventually(&query, PATIENCE, || async {
                Ok((self.store.stored(&labels).await?.lines().len() == expected).then_some(()))
            })
            .await
            .unwrap();
        }
    }
}

fn is_injected(pod: &Value) -> bool {
    pod["spec"]["containers"].as_array().unwrap().iter().any(|container| container["name"] == "log-shipper")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_plain_cluster() {
    plain(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_openshift_with_its_gateway() {
    openshift(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_and_a_plain_cluster() {
    let Some(binary) = loki() else { return };
    plain(Some(&binary)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_and_openshift_with_its_gateway() {
    let Some(binary) = loki() else { return };
    openshift(Some(&binary)).await;
}

async fn plain(loki: Option<&Path>) {
    let Some(world) = World::new(loki, "rec", "a-vanilla").await else { return };
    let objects = render(&world.tools.kustomize, "overlays/plain").unwrap();
    let _installation = Installation::of(&world.cluster, objects, &world.store.push_url()).await.unwrap();
    let pod = world.opt_in_and_restart().await;
    world.assert_answers(&pod).await;
}

async fn openshift(loki: Option<&Path>) {
    if !is_possible("answers_after_three_commands").unwrap() {
        return;
    }
    let Some(world) = World::new(loki, "demo-redis-cluster", "b-openshift").await else { return };
    // Short, because the sidecar may push before the webhook has granted the permission.
    let setup = Setup { memory: Duration::from_secs(5), ..Setup::default() };
    let gateway = Gateway::start_with(&world.servers, &world.cluster, &world.store.api(), setup).await.unwrap();
    // OpenShift puts the CA of its Services into every namespace.
    let ca = json!({"service-ca.crt": gateway.ca()});
    world.cluster.create_config_map(NAMESPACE, "openshift-service-ca.crt", &ca).await.unwrap();
    let objects = render(&world.tools.kustomize, "overlays/openshift").unwrap();
    define_custom_resources(&world.cluster, &world.tools, &objects).await.unwrap();
    let _installation = Installation::of(&world.cluster, objects, &gateway.push_url()).await.unwrap();
    let pod = world.opt_in_and_restart().await;
    world.assert_answers(&pod).await;
}
