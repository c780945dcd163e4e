//! One object in, the object as it was before it was injected out.
//!
//! Removed are our container, the volumes that are ours by name and that only it mounts, and our two annotations. A list or a
//! map that is empty then is removed as well: whether it was absent or empty before cannot be told, and absent is what nearly
//! every pod has.

use serde_json::{Map, Value};

use super::pods::{Holder, sites};
use super::redis_cluster;
use crate::admission::additions::{STATE_VOLUME, TOKEN_VOLUME};
use crate::admission::annotations::{HASH, INJECTED, STATUS};
use crate::admission::decision::SIDECAR;

/// The names of our volumes; where a pod had one of that name, ours got `-2` or a higher number at the end.
const VOLUMES: [&str; 2] = [TOKEN_VOLUME, STATE_VOLUME];

/// What became of one object.
#[derive(Debug)]
pub struct Restored {
    /// The object, with every pod as it was where it had been injected.
    pub object: Value,
    /// Each pod in it.
    pub pods: Vec<Pod>,
}

/// One pod of an object.
#[derive(Debug)]
pub struct Pod {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// Whether the sidecar was there, and is gone now; or why not.
    pub outcome: Result<(), NotInjected>,
    /// The pod as it came, for those who want to know what it is.
    pub pod: Value,
}

/// Why there is nothing to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    /// No such container.
    #[error("it has no container {SIDECAR}")]
    NoSidecar,
    /// A container of that name, but nothing says that it is ours.
    #[error("its container {SIDECAR} was not added by this webhook")]
    NotOurs,
}

/// Takes away from every pod in `object` what had been added.
pub fn uninject(object: &Value) -> Restored {
    let mut restored = Restored { object: object.clone(), pods: Vec::new() };
    for site in sites(object) {
        let Some(place) = restored.object.pointer_mut(&site.pointer) else { continue };
        let pod = site.pod(place);
        let outcome = match site.holder() {
            Holder::Pod => restore_pod(place),
            Holder::RedisCluster => restore_cluster(place),
        };
        restored.pods.push(Pod { title: site.title, outcome, pod });
    }
    restored
}

fn restore_pod(pod: &mut Value) -> Result<(), NotInjected> {
    let annotation = |key: &str| pod.pointer("/metadata/annotations")?.get(key)?.as_str();
    let ours = annotation(STATUS) == Some(INJECTED) && annotation(HASH).is_some();
    let spec = pod.get("spec").and_then(Value::as_object).ok_or(NotInjected::NoSidecar)?;
    let list = ["containers", "initContainers"]
        .into_iter()
        .find(|list| items(spec, list).any(|container| name(container) == Some(SIDECAR)))
        .ok_or(NotInjected::NoSidecar)?;
    if !ours {
        return Err(NotInjected::NotOurs);
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        let others = ["containers", "initContainers", "ephemeralContainers"];
        remove_sidecar(spec, list, &others, |container| name(container) == Some(SIDECAR));
    }
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(STATUS);
            annotations.remove(HASH);
        }
        remove_if_empty(metadata, "annotations");
    }
    Ok(())
}

fn restore_cluster(cluster: &mut Value) -> Result<(), NotInjected> {
    let list = redis_cluster::CONTAINERS;
    let spec = cluster.get_mut("spec").and_then(Value::as_object_mut).ok_or(NotInjected::NoSidecar)?;
    let sidecar = items(spec, list).find(|container| name(container) == Some(SIDECAR)).ok_or(NotInjected::NoSidecar)?;
    if !redis_cluster::is_ours(sidecar) {
        return Err(NotInjected::NotOurs);
    }
    // The mounts of the nodes' own containers stand in the spec itself.
    let nodes = Value::Object(Map::from_iter([(
        "volumeMounts".to_owned(),
        spec.get("redisEnterpriseVolumeMounts").cloned().unwrap_or_default(),
    )]));
    let kept: Vec<_> = mounted(&nodes).map(ToOwned::to_owned).collect();
    remove_sidecar_but(spec, list, &[list], redis_cluster::is_ours, kept);
    Ok(())
}

fn remove_sidecar(spec: &mut Map<String, Value>, list: &str, lists: &[&str], is_sidecar: fn(&Value) -> bool) {
    remove_sidecar_but(spec, list, lists, is_sidecar, Vec::new());
}

/// Removes the sidecar from `list`, and the volumes that are its alone: not in `kept`, and mounted by no container of `lists`.
fn remove_sidecar_but(
    spec: &mut Map<String, Value>,
    list: &str,
    lists: &[&str],
    is_sidecar: fn(&Value) -> bool,
    mut kept: Vec<String>,
) {
    let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { return };
    let gone: Vec<Value> = containers.extract_if(.., |container| is_sidecar(container)).collect();
    kept.extend(lists.iter().flat_map(|list| items(spec, list)).flat_map(mounted).map(ToOwned::to_owned));
    let is_its_alone = |volume: &Value| {
        let volume = name(volume).unwrap_or_default();
        is_our_volume(volume)
            && gone.iter().flat_map(mounted).any(|mounted| mounted == volume)
            && !kept.iter().any(|kept| kept == volume)
    };
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_its_alone(volume));
    }
    remove_if_empty(spec, list);
    remove_if_empty(spec, "volumes");
}

fn is_our_volume(name: &str) -> bool {
    VOLUMES
        .iter()
        .filter_map(|ours| name.strip_prefix(ours))
        .any(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok()))
}

fn remove_if_empty(map: &mut Map<String, Value>, key: &str) {
    let is_empty = match map.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        _ => false,
    };
    if is_empty {
        map.remove(key);
    }
}

/// The volumes that a container uses.
fn mounted(container: &Value) -> impl Iterator<Item = &str> {
    let lists = ["volumeMounts", "volumeDevices"].into_iter().filter_map(|list| container.get(list)?.as_array());
    lists.flatten().filter_map(name)
}

fn items<'a>(spec: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn name(value: &Value) -> Option<&str> {
    value.get("name")?.as_str()
}
