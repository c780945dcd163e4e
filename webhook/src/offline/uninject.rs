//! From an injected object to the object as it was before.
//!
//! This removes our container, our volumes that only it mounts, the pull secrets in our annotation, and our annotations. A
//! list or map that becomes empty is removed too. Nobody can tell whether it was absent or empty before, and in almost
//! every pod it was absent.
//!
//! The result is one JSON patch that removes the items of a list from the last to the first. A `test` before each `remove`
//! makes the patch fail if the object has changed since. Admission never answers with such a patch.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, RemoveOperation, TestOperation};
use serde_json::{Map, Value, json};

use super::pods::{Holder, sites};
use super::redis_cluster;
use crate::admission::pod::{HASH, PULL_SECRETS, SIDECAR, STATE_VOLUME, STATUS, TOKEN_VOLUME, annotation, items, name};
use crate::admission::presence;

/// The names of our volumes. If the pod had a volume of that name, ours ends in `-2` or a higher number.
const VOLUMES: [&str; 2] = [TOKEN_VOLUME, STATE_VOLUME];

/// The annotations that admission writes.
const OUTCOMES: [&str; 3] = [STATUS, HASH, PULL_SECRETS];

/// The result for one object.
#[derive(Debug)]
pub struct Restored {
    /// The object with its injected pods restored.
    pub object: Value,
    /// Its pods.
    pub pods: Vec<Pod>,
}

/// One pod of an object.
#[derive(Debug)]
pub struct Pod {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// The patch that removes the sidecar, relative to the object; or why there is none.
    pub outcome: Result<Patch, NotInjected>,
    /// The pod as it was read.
    pub pod: Value,
}

/// Why there is nothing to remove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    /// There is no such container.
    #[error("it has no container {SIDECAR}")]
    NoSidecar,
    /// There is such a container, but nothing shows that it is ours.
    #[error("this webhook did not add its container {SIDECAR}")]
    NotOurs,
    /// An error in this program.
    #[error("failed to make a patch that applies: {0}")]
    Failed(String),
}

/// Removes the sidecar from every injected pod in `object`.
pub fn uninject(object: &Value) -> Restored {
    let mut restored = Restored { object: object.clone(), pods: Vec::new() };
    for site in sites(object) {
        let Some(place) = object.pointer(&site.pointer) else { continue };
        let removals = match site.holder() {
            Holder::Pod => from_pod(place, &site.pointer),
            Holder::RedisCluster => from_cluster(place, &site.pointer),
        };
        let outcome = removals.and_then(|removals| {
            let patch = Patch(removals.operations);
            match json_patch::patch(&mut restored.object, &patch) {
                Ok(()) => Ok(patch),
                Err(error) => Err(NotInjected::Failed(error.to_string())),
            }
        });
        let pod = site.pod(place);
        restored.pods.push(Pod { title: site.title, outcome, pod });
    }
    restored
}

fn from_pod(pod: &Value, pointer: &str) -> Result<Removals, NotInjected> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let spec = pod.get("spec").ok_or(NotInjected::NoSidecar)?;
    let list = ["containers", "initContainers"]
        .into_iter()
        .find(|list| items(spec, list).any(|container| name(container) == Some(SIDECAR)))
        .ok_or(NotInjected::NoSidecar)?;
    if presence::hash(pod).is_none() {
        return Err(NotInjected::NotOurs);
    }
    let mut removals = Removals::from(pointer)?;
    let is_sidecar = |container: &Value| name(container) == Some(SIDECAR);
    let others = ["containers", "initContainers", "ephemeralContainers"];
    let others = others.into_iter().flat_map(|list| items(spec, list)).filter(|container| !is_sidecar(container));
    let kept: Vec<_> = others.flat_map(mounted).collect();
    removals.sidecar(spec, list, is_sidecar, &kept);
    let ours: Vec<_> = annotation(pod, PULL_SECRETS).into_iter().flat_map(|names| names.split(',')).collect();
    removals.items(spec, "imagePullSecrets", |secret| name(secret).is_some_and(|name| ours.contains(&name)));
    removals.annotations(annotations);
    Ok(removals)
}

fn from_cluster(cluster: &Value, pointer: &str) -> Result<Removals, NotInjected> {
    let list = redis_cluster::CONTAINERS;
    let spec = cluster.get("spec").ok_or(NotInjected::NoSidecar)?;
    let sidecar = items(spec, list).find(|container| name(container) == Some(SIDECAR)).ok_or(NotInjected::NoSidecar)?;
    if !redis_cluster::is_ours(sidecar) {
        return Err(NotInjected::NotOurs);
    }
    // The spec itself lists the mounts of the nodes' own containers.
    let nodes = items(spec, "redisEnterpriseVolumeMounts").filter_map(name);
    let others = items(spec, list).filter(|container| !redis_cluster::is_ours(container));
    let kept: Vec<_> = others.flat_map(mounted).chain(nodes).collect();
    let mut removals = Removals::from(pointer)?;
    removals.sidecar(spec, list, redis_cluster::is_ours, &kept);
    Ok(removals)
}

/// The operations of a patch that removes things.
struct Removals {
    at: PointerBuf,
    operations: Vec<PatchOperation>,
}

impl Removals {
    fn from(pointer: &str) -> Result<Self, NotInjected> {
        let at = PointerBuf::parse(pointer).map_err(|error| NotInjected::Failed(error.to_string()))?;
        Ok(Self { at, operations: Vec::new() })
    }

    /// Removes the sidecar from `list` of `spec`, and our volumes that it mounts and that are not in `kept`.
    fn sidecar(&mut self, spec: &Value, list: &str, is_sidecar: fn(&Value) -> bool, kept: &[&str]) {
        let its: Vec<_> = items(spec, list).filter(|container| is_sidecar(container)).flat_map(mounted).collect();
        self.items(spec, list, is_sidecar);
        self.items(spec, "volumes", |volume| {
            name(volume).is_some_and(|name| is_our_volume(name) && its.contains(&name) && !kept.contains(&name))
        });
    }

    /// Removes the items of `list` that are `gone`, and the list itself if none is left.
    fn items(&mut self, spec: &Value, list: &str, gone: impl Fn(&Value) -> bool) {
        let all: Vec<_> = items(spec, list).collect();
        let before = self.operations.len();
        for (i, item) in all.iter().enumerate().rev().filter(|(_, item)| gone(item)) {
            let at = self.below(&["spec", list, &i.to_string()]);
            let mut named = at.clone();
            named.push_back("name");
            self.remove(named, item.get("name").cloned().unwrap_or_default(), at);
        }
        // Each item takes two operations.
        if self.operations.len() - before == 2 * all.len() && !all.is_empty() {
            let at = self.below(&["spec", list]);
            self.remove(at.clone(), json!([]), at);
        }
    }

    /// Removes our annotations, and the map itself if it has no others.
    fn annotations(&mut self, annotations: Option<&Map<String, Value>>) {
        let map = self.below(&["metadata", "annotations"]);
        for key in OUTCOMES {
            if let Some(value) = annotations.and_then(|annotations| annotations.get(key)) {
                let mut at = map.clone();
                at.push_back(key);
                self.remove(at.clone(), value.clone(), at);
            }
        }
        if annotations.is_some_and(|annotations| annotations.keys().all(|key| OUTCOMES.contains(&key.as_str()))) {
            self.remove(map.clone(), json!({}), map);
        }
    }

    /// Removes the value at `at`, if the value at `tested` is `value`.
    fn remove(&mut self, tested: PointerBuf, value: Value, at: PointerBuf) {
        self.operations.push(PatchOperation::Test(TestOperation { path: tested, value }));
        self.operations.push(PatchOperation::Remove(RemoveOperation { path: at }));
    }

    fn below(&self, tokens: &[&str]) -> PointerBuf {
        let mut at = self.at.clone();
        for token in tokens {
            at.push_back(*token);
        }
        at
    }
}

fn is_our_volume(name: &str) -> bool {
    VOLUMES
        .iter()
        .filter_map(|ours| name.strip_prefix(ours))
        .any(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok()))
}

/// The volumes that a container uses.
fn mounted(container: &Value) -> impl Iterator<Item = &str> {
    let lists = ["volumeMounts", "volumeDevices"].into_iter().filter_map(|list| container.get(list)?.as_array());
    lists.flatten().filter_map(name)
}
