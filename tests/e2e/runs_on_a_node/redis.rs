//! A Redis Enterprise of one pod on the node, as its operator creates it.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use harness::controllers::stateful_set_of;
use harness::pod_fixture;
use harness::process::eventually;
use harness::store::Entry;
use harness::writer::difference;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::world::World;

const PATIENCE: Duration = Duration::from_mins(1);
/// The interval between two queries.
const POLL: Duration = Duration::from_millis(300);
/// Less than the product requests, because this machine has two cores.
const CPU: &str = "20m";
const MEMORY: &str = "128Mi";

/// A StatefulSet and its other objects, in a namespace of its own.
pub(crate) struct Redis<'a> {
    world: &'a World,
    pub(crate) namespace: String,
    pub(crate) cluster: String,
}

/// The objects of a Redis Enterprise `cluster` in `namespace`.
pub(crate) fn objects(namespace: &str, cluster: &str, labels: &Value) -> anyhow::Result<Vec<Value>> {
    let pod = pod_fixture("a-vanilla")?;
    let text = pod.to_string().replace("\"rec\"", &format!("\"{cluster}\""));
    let mut set = stateful_set_of(&serde_json::from_str(&text)?, namespace, 1);
    set = serde_json::from_str(&set.to_string().replace("\"rec\"", &format!("\"{cluster}\"")))?;
    let template = set.pointer_mut("/spec/template/spec").context("no pod")?;
    for container in template["containers"].as_array_mut().into_iter().flatten() {
        let amounts = json!({"cpu": CPU, "memory": MEMORY});
        container["resources"] = json!({"requests": amounts, "limits": amounts});
        if let Some(probe) = container["readinessProbe"].as_object_mut() {
            probe.insert("periodSeconds".to_owned(), json!(1));
        }
    }
    let named = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": cluster, "namespace": namespace}});
    let mut secret = named("v1", "Secret");
    secret["stringData"] = json!({"username": "demo@example.com", "password": "demo"});
    let mut service = named("v1", "Service");
    service["spec"] = json!({"clusterIP": "None", "selector": {"app": "redis-enterprise", "redis.io/cluster": cluster}, "ports": [{"name": "api", "port": 9443}]});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
    Ok(vec![space, named("v1", "ServiceAccount"), secret, service, set])
}

impl<'a> Redis<'a> {
    /// Creates a Redis Enterprise as [`Self::create`] does, and waits until its pod is Ready.
    pub(crate) async fn start(
        world: &'a World,
        namespace: &str,
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Self> {
        let redis = Self::new(world, namespace);
        redis.create(&json!({}), change).await?;
        redis.ready("").await?;
        Ok(redis)
    }

    /// A Redis Enterprise named `rec`, for [`Self::create`].
    pub(crate) fn new(world: &'a World, namespace: &str) -> Self {
        Self::of(world, namespace, "rec")
    }

    /// A Redis Enterprise that exists already.
    pub(crate) fn of(world: &'a World, namespace: &str, cluster: &str) -> Self {
        Self { world, namespace: namespace.to_owned(), cluster: cluster.to_owned() }
    }

    /// Creates it in a new namespace that opted in and has these labels. `change` changes its StatefulSet.
    pub(crate) async fn create(&self, labels: &Value, change: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        let mut labels = labels.clone();
        labels["redis-log-shipper.io/inject"] = json!("enabled");
        let mut objects = objects(&self.namespace, &self.cluster, &labels)?;
        change(objects.last_mut().context("no objects")?);
        let cluster = self.world.node.cluster().await?;
        for object in &objects {
            cluster.apply(object).await?;
        }
        Ok(())
    }

    /// Waits until the pod is Ready and has another UID than `before`.
    pub(crate) async fn ready(&self, before: &str) -> anyhow::Result<Value> {
        self.pod("the Redis pod is Ready", |pod| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            uid(pod) != before && conditions.iter().any(is_ready)
        })
        .await
    }

    /// Waits until `is_wanted` accepts the pod.
    pub(crate) async fn pod(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let cluster = self.world.node.cluster().await?;
        let found = eventually(what, PATIENCE, || async {
            Ok(cluster.whole_pods(&self.namespace).await?.into_iter().find(&is_wanted))
        })
        .await;
        found.with_context(|| self.describe())
    }

    /// The output of `kubectl describe`.
    pub(crate) fn describe(&self) -> String {
        let text = self.world.node.kubectl(&["describe", "pods", "-n", &self.namespace]);
        text.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Runs a program in Redis's container.
    pub(crate) fn exec(&self, command: &[&str]) -> anyhow::Result<String> {
        let pod = format!("{}-0", self.cluster);
        let target = ["exec", "-n", &self.namespace, &pod, "-c", "redis-enterprise-node", "--"];
        self.world.node.kubectl(&[&target, command].concat())
    }

    /// The pod's volume, as seen from this machine.
    pub(crate) fn volume(&self) -> anyhow::Result<PathBuf> {
        let claim = format!("redis-enterprise-storage-{}-0", self.cluster);
        let volume = self.world.node.kubectl(&[
            "get",
            "pvc",
            "-n",
            &self.namespace,
            &claim,
            "-o",
            "jsonpath={.spec.volumeName}",
        ])?;
        self.world.node.volume(&volume)
    }

    /// Every line of a log file and its rotated files, oldest first.
    pub(crate) fn written(&self, stem: &str) -> anyhow::Result<Vec<String>> {
        let dir = self.volume()?.join("logs");
        let mut text = String::new();
        for number in (1..=20).rev() {
            let plain = dir.join(format!("{stem}.log.{number}"));
            let packed = dir.join(format!("{stem}.log.{number}.gz"));
            if let Ok(file) = std::fs::File::open(packed) {
                MultiGzDecoder::new(file).read_to_string(&mut text)?;
            } else if let Ok(rotated) = std::fs::read_to_string(plain) {
                text.push_str(&rotated);
            }
        }
        text.push_str(&std::fs::read_to_string(dir.join(format!("{stem}.log")))?);
        Ok(text.lines().map(ToOwned::to_owned).collect())
    }

    /// Waits until `receiver` shows every line that is in the log files now, each once and in order.
    pub(crate) async fn all_shown(&self, receiver: &Receiver, stem: &str) -> anyhow::Result<usize> {
        let labels = [("kubernetes_namespace_name", self.namespace.as_str()), ("log_file", stem)];
        let (start, by_now) = (Instant::now(), self.written(stem)?.len());
        loop {
            let shown = receiver.entries(&labels).await?;
            // Redis keeps writing. Its newer lines may not be shown yet.
            let (written, lines) = (self.written(stem)?, shown.iter().flat_map(Entry::lines).count());
            let expected = written.get(..lines.max(by_now)).unwrap_or(&written);
            match difference(expected, &shown) {
                None => return Ok(lines),
                Some(difference) if start.elapsed() > PATIENCE => bail!("{stem}: {difference}"),
                Some(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Sets the number of pods.
    pub(crate) fn scale(&self, replicas: u32) {
        self.kubectl(&["scale", "statefulset", &self.cluster, &format!("--replicas={replicas}")]);
    }

    /// The output of `kubectl ARGS` in its namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.world.node.kubectl(&[&["-n", &self.namespace], args].concat()).unwrap()
    }

    /// Deletes its namespace, to make room for others, without waiting.
    pub(crate) fn remove(self) {
        self.world.node.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).unwrap();
    }

    /// Runs `kubectl delete pod` with these flags, and waits until the pod is gone.
    pub(crate) fn delete_pod(&self, flags: &[&str]) -> anyhow::Result<()> {
        let pod = format!("{}-0", self.cluster);
        self.world.node.kubectl(&[&["delete", "pod", "-n", &self.namespace, &pod], flags].concat())?;
        Ok(())
    }
}

/// The status of a pod's container, native sidecars included.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    lists.filter_map(|list| pod["status"][list].as_array()).flatten().find(|status| status["name"] == name)
}

/// Adds an annotation to a StatefulSet's pods.
pub(crate) fn annotate(set: &mut Value, name: &str, value: &str) {
    set["spec"]["template"]["metadata"]["annotations"][format!("redis-log-shipper.io/{name}")] = json!(value);
}

/// The UID of a pod.
pub(crate) fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}
