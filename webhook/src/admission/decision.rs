//! Inject, or a named reason to skip. Pure: the namespace's opt-in is the API server's selector's business.

use serde_json::Value;

use super::additions::additions;
use super::annotations::{self, Wish};
use crate::config::Config;

/// The container that writes the logs.
pub const NODE_CONTAINER: &str = "redis-enterprise-node";
/// The container we add.
pub const SIDECAR: &str = "log-shipper";
/// Where Redis Enterprise writes its logs.
pub const LOG_DIR: &str = "/var/opt/redislabs/log";
/// The label that holds the name of the `RedisEnterpriseCluster`.
pub const CLUSTER_LABEL: &str = "redis.io/cluster";

/// Labels that every Redis Enterprise node pod carries, and its look-alikes do not.
const LABELS: [(&str, &str); 2] = [("app", "redis-enterprise"), ("redis.io/role", "node")];

/// What to do with a pod.
#[derive(Debug, Clone)]
pub enum Decision<'a> {
    /// Give it the sidecar.
    Inject(Target<'a>),
    /// Leave it.
    Skip(Skip),
}

/// Where the logs of a pod are.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container that writes them.
    pub container: &'a Value,
    /// Its mount that covers the log directory.
    pub mount: &'a Value,
}

/// Why a pod is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`reason` says each in words")]
pub enum Skip {
    NotAPod,
    Subresource,
    NotACreation,
    NoObject,
    ReservedNamespace,
    NotRedisEnterprise,
    NoNodeContainer,
    NoLogMount,
    OptedOut,
    InvalidOptIn,
    MirrorPod,
    WindowsPod,
    BeingDeleted,
    AlreadyInjected,
    Drift,
    NameTaken,
}

impl Skip {
    /// The reason as one stable word, for logs, metrics and the audit trail.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAPod => "not_a_pod",
            Self::Subresource => "subresource",
            Self::NotACreation => "not_a_creation",
            Self::NoObject => "no_object",
            Self::ReservedNamespace => "reserved_namespace",
            Self::NotRedisEnterprise => "not_redis_enterprise",
            Self::NoNodeContainer => "no_node_container",
            Self::NoLogMount => "no_log_mount",
            Self::OptedOut => "opted_out",
            Self::InvalidOptIn => "invalid_opt_in",
            Self::MirrorPod => "mirror_pod",
            Self::WindowsPod => "windows_pod",
            Self::BeingDeleted => "being_deleted",
            Self::AlreadyInjected => "already_injected",
            Self::Drift => "drift",
            Self::NameTaken => "name_taken",
        }
    }
}

/// Decides about `pod`, which lives in `namespace` as the request says. The second value is what its owner is told.
pub fn decide<'a>(pod: &'a Value, namespace: Option<&str>, config: &Config) -> (Decision<'a>, Vec<String>) {
    let mut warnings = Vec::new();
    let decision = match target(pod, namespace, config, &mut warnings) {
        Ok(target) => Decision::Inject(target),
        Err(skip) => Decision::Skip(skip),
    };
    (decision, warnings)
}

fn target<'a>(
    pod: &'a Value,
    namespace: Option<&str>,
    config: &Config,
    warnings: &mut Vec<String>,
) -> Result<Target<'a>, Skip> {
    let text = |at: &str| pod.pointer(at).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").or(namespace);
    if namespace.is_some_and(|namespace| is_reserved(namespace, config)) {
        return Err(Skip::ReservedNamespace);
    }
    if !is_redis_enterprise_node(pod) {
        return Err(Skip::NotRedisEnterprise);
    }
    if annotations::get(pod, "kubernetes.io/config.mirror").is_some() {
        return Err(Skip::MirrorPod);
    }
    if text("/spec/os/name") == Some("windows") {
        return Err(Skip::WindowsPod);
    }
    if text("/metadata/deletionTimestamp").is_some() {
        return Err(Skip::BeingDeleted);
    }
    let container = containers(pod, "containers")
        .find(|container| name(container) == Some(NODE_CONTAINER))
        .ok_or(Skip::NoNodeContainer)?;
    match annotations::wish(pod) {
        Wish::Inject => {}
        Wish::OptOut => return Err(Skip::OptedOut),
        Wish::Unclear(value) => {
            warnings.push(format!(
                "annotation {}: {value:?} is neither \"true\" nor \"false\", so the pod is not injected",
                annotations::INJECT
            ));
            return Err(Skip::InvalidOptIn);
        }
    }
    let mount = log_mount(container).ok_or_else(|| {
        warnings.push(format!(
            "container {NODE_CONTAINER} has no volume mounted at {LOG_DIR}, so its logs cannot be reached by a sidecar \
             (is persistence off?)"
        ));
        Skip::NoLogMount
    })?;
    let target = Target { container, mount };
    if let Some(skip) = sidecar_is_there(pod, &target, config, warnings) {
        return Err(skip);
    }
    warn_of_other_readers(pod, mount, warnings);
    Ok(target)
}

/// Namespaces that are never touched, whatever a selector says.
fn is_reserved(namespace: &str, config: &Config) -> bool {
    namespace == "default"
        || namespace == config.namespace
        || namespace.starts_with("kube-")
        || namespace.starts_with("openshift-")
}

fn is_redis_enterprise_node(pod: &Value) -> bool {
    let Some(labels) = pod.pointer("/metadata/labels") else {
        return false;
    };
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    LABELS.iter().all(|(key, value)| label(key) == Some(value)) && label(CLUSTER_LABEL).is_some()
}

/// Whether a container of our name is there already, and what that means.
fn sidecar_is_there(pod: &Value, target: &Target<'_>, config: &Config, warnings: &mut Vec<String>) -> Option<Skip> {
    if !["containers", "initContainers"]
        .into_iter()
        .any(|list| containers(pod, list).any(|container| name(container) == Some(SIDECAR)))
    {
        return None;
    }
    let hash = annotations::get(pod, annotations::HASH);
    let ours = annotations::get(pod, annotations::STATUS) == Some("injected") && hash.is_some();
    if !ours {
        warnings.push(format!(
            "the pod has a container {SIDECAR} of its own, so the log shipper is not added; rename that container"
        ));
        return Some(Skip::NameTaken);
    }
    // Compared is what we would add now, not the container itself: other webhooks may have added to that.
    if hash == Some(additions(pod, target, config, &mut Vec::new()).hash.as_str()) {
        return Some(Skip::AlreadyInjected);
    }
    warnings.push(format!(
        "drift: the container {SIDECAR} was added by another version or configuration of this webhook and is left alone"
    ));
    Some(Skip::Drift)
}

/// The mount that covers the log directory: the one with the longest path, as the kubelet has it.
fn log_mount(container: &Value) -> Option<&Value> {
    mounts(container)
        .filter_map(|mount| Some((path(mount)?, mount)))
        .filter(|(path, mount)| covers(path, LOG_DIR) && mount.get("name").is_some_and(Value::is_string))
        .max_by_key(|(path, _)| path.len())
        .map(|(_, mount)| mount)
}

fn warn_of_other_readers(pod: &Value, log_mount: &Value, warnings: &mut Vec<String>) {
    let others =
        containers(pod, "containers").filter(|container| !matches!(name(container), Some(NODE_CONTAINER | SIDECAR)));
    for other in others {
        let reads = mounts(other).any(|mount| {
            mount.get("name") == log_mount.get("name") && path(mount).is_some_and(|path| covers(path, LOG_DIR))
        });
        if let (true, Some(name)) = (reads, name(other)) {
            warnings.push(format!(
                "container {name} also mounts the log directory {LOG_DIR}: if it ships logs, every line arrives twice"
            ));
        }
    }
}

/// Whether `dir` is `path` or lies below it.
fn covers(path: &str, dir: &str) -> bool {
    std::path::Path::new(dir).starts_with(path)
}

pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    array(pod.get("spec").and_then(|spec| spec.get(list)))
}

pub(super) fn mounts(container: &Value) -> impl Iterator<Item = &Value> {
    array(container.get("volumeMounts"))
}

fn path(mount: &Value) -> Option<&str> {
    let path = mount.get("mountPath")?.as_str()?;
    let trimmed = path.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/" } else { trimmed })
}

fn name(container: &Value) -> Option<&str> {
    container.get("name")?.as_str()
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
