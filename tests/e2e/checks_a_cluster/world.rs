//! An installation with a labelled namespace, and the program that checks it.

use harness::cluster::Cluster;
use harness::installation::{Installation, NAMESPACE};
use harness::manifests::{render, render_with};
use harness::owners::owned;
use harness::servers::Servers;
use harness::{pod_fixture, programs};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// The label that opts in.
pub(crate) const OPTED_IN: &str = "redis-log-shipper.io/inject";

/// A Loki without a gateway, where nobody needs a permission.
const LOKI: &str = "http://loki.example:3100/loki/api/v1/push";

/// A cluster with the webhook of the overlay `plain`.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    _installation: Installation,
}

/// What `check` printed, as JSON.
#[derive(Debug)]
pub(crate) struct Report {
    checks: Vec<Value>,
    pub(crate) succeeded: bool,
}

impl World {
    pub(crate) async fn new(servers: &Servers) -> Self {
        Self::pushing_to(servers, LOKI).await
    }

    /// With another push URL.
    pub(crate) async fn pushing_to(servers: &Servers, url: &str) -> Self {
        Self::of(servers, render(&servers.kustomize, "overlays/plain").unwrap(), url).await
    }

    /// With the base and these components in place of the overlay.
    pub(crate) async fn with(servers: &Servers, components: &[&str]) -> Self {
        Self::of(servers, render_with(&servers.kustomize, components).unwrap(), LOKI).await
    }

    async fn of(servers: &Servers, objects: Vec<Value>, url: &str) -> Self {
        let cluster = Cluster::start(servers).await.unwrap();
        let installation = Installation::of(&cluster, objects, url).await.unwrap();
        cluster.create_namespace("redis", &json!({OPTED_IN: "enabled"}), &["rec"]).await.unwrap();
        // A controller creates it in every namespace.
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "canary"},
        });
        cluster.apply(&account).await.unwrap();
        let world = Self { cluster, _installation: installation };
        // No controller runs that counts the Ready pods.
        world.set_ready_replicas(2).await;
        world
    }

    pub(crate) async fn set_ready_replicas(&self, ready: u32) {
        let deployments: Api<Deployment> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        let status = Patch::Merge(json!({"status": {"replicas": ready, "readyReplicas": ready}}));
        deployments.patch_status("redis-log-webhook", &PatchParams::default(), &status).await.unwrap();
    }

    /// Creates a Redis Enterprise pod as its StatefulSet does.
    pub(crate) async fn create_pod(&self, namespace: &str, name: &str) -> Value {
        self.create_pod_with(namespace, name, |_| {}).await
    }

    /// As [`Self::create_pod`], with a change.
    pub(crate) async fn create_pod_with(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut pod =
            owned(&self.cluster, namespace, ("StatefulSet", "rec"), &pod_fixture("a-vanilla").unwrap()).await.unwrap();
        pod["metadata"]["name"] = json!(name);
        change(&mut pod);
        self.cluster.create_pod(namespace, &pod, false).await.unwrap()
    }

    /// Creates a Redis Enterprise pod without an owner.
    pub(crate) async fn create_bare_pod(&self, namespace: &str, name: String) {
        let mut pod = pod_fixture("a-vanilla").unwrap();
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["ownerReferences"] = json!([]);
        self.cluster.create_pod(namespace, &pod, false).await.unwrap();
    }

    /// Runs `check` as an administrator.
    pub(crate) async fn check(&self, flags: &[&str]) -> Report {
        self.run(&self.cluster.kubeconfig, flags).await
    }

    /// Runs `check` as a ServiceAccount.
    pub(crate) async fn check_as(&self, namespace: &str, account: &str, flags: &[&str]) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let (token, ca, kubeconfig) = (dir.path().join("token"), dir.path().join("ca.crt"), dir.path().join("config"));
        std::fs::write(&token, self.cluster.token(namespace, account, 3600).await.unwrap()).unwrap();
        std::fs::write(&ca, &self.cluster.ca).unwrap();
        std::fs::write(&kubeconfig, self.cluster.kubeconfig_of(&token, &ca)).unwrap();
        self.run(&kubeconfig, flags).await
    }

    async fn run(&self, kubeconfig: &std::path::Path, flags: &[&str]) -> Report {
        let mut command = std::process::Command::new(programs::program("redis-log-webhook").unwrap());
        command.args(["check", "--output=json"]).args(flags).env("KUBECONFIG", kubeconfig);
        let started = std::time::Instant::now();
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let took = started.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        let groups = json["groups"].as_array().unwrap().iter();
        let checks = groups.flat_map(|group| group["checks"].as_array().unwrap().clone()).collect();
        let report = Report { checks, succeeded: output.status.success() };
        // docs/diagnosis.md has these numbers.
        harness::say(&format!("{:?}: check after {:.1} s", report.codes(), took.as_secs_f32()));
        report
    }
}

impl Report {
    /// The codes of all findings, sorted, each once.
    pub(crate) fn codes(&self) -> Vec<String> {
        let mut codes: Vec<_> = self.texts("code");
        codes.sort();
        codes.dedup();
        codes
    }

    /// The problems of all findings.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.texts("problem")
    }

    /// The result of a check.
    pub(crate) fn result(&self, check: &str) -> Option<&str> {
        self.checks.iter().find(|row| row["check"] == check)?["result"].as_str()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.checks.iter().filter_map(|check| check[key].as_str()).map(str::to_owned).collect()
    }
}
