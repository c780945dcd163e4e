//! A `RedisEnterpriseCluster`, for users who cannot run webhooks. It contains no pod, so the pod that its operator creates
//! is judged, and the additions go into `sideContainersSpec` and `volumes`.

use findings::Code;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value, json};

use crate::admission::case::Case;
use crate::admission::pod::{CREDENTIALS_DIR, PREFIX, SIDECAR, items, mount_path, mounts, name};
use crate::admission::presence::Presence;
use crate::admission::{self, Judged, Verdict, Warning};
use crate::config::{Config, SidecarMode};

/// The cluster's list of additional containers.
pub(super) const CONTAINERS: &str = "sideContainersSpec";
/// A node's data volume, from the claim that the operator creates.
const STORAGE: &str = "redis-enterprise-storage";

/// Whether this is the kind, in any of its versions.
pub(super) fn is_one(api_version: &str, kind: &str) -> bool {
    kind == "RedisEnterpriseCluster" && matches!(api_version, "app.redislabs.com/v1" | "app.redislabs.com/v1alpha1")
}

/// Judges the pods of `cluster`, with a patch for the cluster.
pub(super) fn judge(cluster: &Value, namespace: Option<&str>, config: &Config) -> Judged {
    let pod = pod_without_sidecar(cluster);
    let config = Config { sidecar_mode: SidecarMode::Container, ..config.clone() };
    let mut judged = admission::judge(&pod, namespace, &config);
    if wants_another_mode(cluster) {
        let text =
            format!("annotation {PREFIX}sidecar-mode is ignored: a RedisEnterpriseCluster takes plain containers only");
        judged.warnings.push(Warning::new(Some(Code::InvalidAnnotation), text));
    }
    let Verdict::Injected(patch) = &judged.verdict else { return judged };
    if !config.image_pull_secrets.is_empty() {
        let names = config.image_pull_secrets.join(", ");
        judged.warnings.push(
            format!(
                "a RedisEnterpriseCluster is given no imagePullSecrets; make sure that its spec.pullSecrets contains \
             {names}"
            )
            .into(),
        );
    }
    let (containers, volumes) = (added(patch, "containers"), added(patch, "volumes"));
    let presence = match sidecar(cluster) {
        None => Presence::Absent,
        Some(present) if containers.first() == Some(present) && volumes.is_empty() => Presence::Current,
        Some(present) if is_ours(present) => Presence::Outdated,
        Some(_) => Presence::Foreign,
    };
    judged.verdict = match presence.check() {
        Ok(()) => Verdict::Injected(cluster_patch(cluster, &containers, &volumes)),
        Err(skip) => {
            if skip.is_worth_a_warning() {
                let case = Case { pod: &pod, namespace, config: &config, native_sidecars: None };
                judged.warnings.push(Warning::new(skip.code(), skip.explanation(&case)));
            }
            Verdict::Skipped(skip)
        }
    };
    judged
}

/// The pod that the operator creates for `cluster`, as far as admission reads it, without a container `log-shipper`.
pub(super) fn pod_without_sidecar(cluster: &Value) -> Value {
    let spec = cluster.get("spec").unwrap_or(&Value::Null);
    let name = cluster.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("rec");
    let mut labels = map(spec.get("extraLabels"));
    for (key, value) in [("app", "redis-enterprise"), ("redis.io/role", "node"), ("redis.io/cluster", name)] {
        labels.insert(key.to_owned(), json!(value));
    }
    let mut annotations = annotations(cluster);
    annotations.remove(&format!("{PREFIX}sidecar-mode"));
    let mut mounts = Vec::new();
    if cluster.pointer("/spec/persistentSpec/enabled") != Some(&Value::Bool(false)) {
        mounts.push(json!({"name": STORAGE, "mountPath": "/opt/persistent"}));
        mounts.push(json!({"name": STORAGE, "mountPath": "/var/opt/redislabs/log", "subPath": "logs"}));
    }
    mounts.extend(items(spec, "redisEnterpriseVolumeMounts").cloned());
    let mut containers = vec![json!({"name": "redis-enterprise-node", "volumeMounts": mounts})];
    containers.extend(items(spec, CONTAINERS).filter(|container| !is_sidecar(container)).cloned());
    let volumes: Vec<_> = items(spec, "volumes").cloned().collect();
    let mut metadata = json!({"name": format!("{name}-0"), "labels": labels, "annotations": annotations});
    if let (Some(namespace), Some(map)) = (cluster.pointer("/metadata/namespace"), metadata.as_object_mut()) {
        map.insert("namespace".to_owned(), namespace.clone());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, "volumes": volumes},
    })
}

/// Whether this program added the container. A cluster has no annotation for this, but no other container has a mount at
/// this path.
pub(super) fn is_ours(container: &Value) -> bool {
    is_sidecar(container) && mounts(container).any(|mount| mount_path(mount) == Some(CREDENTIALS_DIR))
}

fn sidecar(cluster: &Value) -> Option<&Value> {
    items(cluster.get("spec")?, CONTAINERS).find(|container| is_sidecar(container))
}

fn is_sidecar(container: &Value) -> bool {
    name(container) == Some(SIDECAR)
}

/// The annotations that the cluster gives to its pods. The annotations for nodes take precedence.
fn annotations(cluster: &Value) -> Map<String, Value> {
    let mut all = map(cluster.pointer("/spec/podAnnotations"));
    all.extend(map(cluster.pointer("/spec/redisEnterprisePodAnnotations")));
    all
}

fn wants_another_mode(cluster: &Value) -> bool {
    let mode = annotations(cluster).remove(&format!("{PREFIX}sidecar-mode"));
    mode.is_some_and(|mode| mode.as_str() != Some("container"))
}

/// The items that `patch` adds to a list in the pod's spec.
fn added(patch: &Patch, list: &str) -> Vec<Value> {
    let (whole, end) = (format!("/spec/{list}"), format!("/spec/{list}/-"));
    let mut items = Vec::new();
    for operation in &patch.0 {
        let PatchOperation::Add(add) = operation else { continue };
        match &add.value {
            Value::Array(all) if add.path.as_str() == whole => items.extend(all.iter().cloned()),
            item if add.path.as_str() == end => items.push(item.clone()),
            _ => {}
        }
    }
    items
}

fn cluster_patch(cluster: &Value, containers: &[Value], volumes: &[Value]) -> Patch {
    let add = |path: &[&str], value| {
        PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
    };
    let spec = cluster.get("spec").unwrap_or(&Value::Null);
    let mut operations = Vec::new();
    if !spec.is_object() {
        operations.push(add(&["spec"], json!({})));
    }
    for (key, added) in [(CONTAINERS, containers), ("volumes", volumes)] {
        if added.is_empty() {
            continue;
        }
        if items(spec, key).next().is_none() {
            operations.push(add(&["spec", key], json!(added)));
        } else {
            operations.extend(added.iter().map(|item| add(&["spec", key, "-"], item.clone())));
        }
    }
    Patch(operations)
}

fn map(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
