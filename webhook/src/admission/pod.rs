//! A pod as a JSON value: accessors for what admission reads, and the names that this project gives to things in a pod.
//!
//! An accessor returns `None`, or an empty iterator, where a field is absent or of another type.

use serde_json::Value;

/// The container that we add.
pub const SIDECAR: &str = "log-shipper";
/// The volume with the token, the CA files and the namespace.
pub const TOKEN_VOLUME: &str = "log-shipper-token";
/// The volume with the positions, unless they are on the log volume.
pub const STATE_VOLUME: &str = "log-shipper-state";

/// The directory with the sidecar's token, CA files and namespace.
pub const CREDENTIALS_DIR: &str = "/var/run/secrets/redis-log-shipper";
/// The key of the ConfigMap with the sidecar's runtime configuration, and its file in [`CREDENTIALS_DIR`].
pub const RUNTIME_CONFIG: &str = "shipper.yaml";
/// The directory with the sidecar's positions.
pub const STATE_DIR: &str = "/var/lib/redis-log-shipper";
/// The directory for positions while the sidecar cannot write to its directory on the log volume.
pub const STATE_FALLBACK_DIR: &str = "/var/lib/redis-log-shipper-fallback";
/// The API server mounts a token of the pod's ServiceAccount here in every container that has no mount at this path.
pub const API_TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Every mount path of the sidecar, except the log directory.
pub const OWN_DIRS: [&str; 4] = [CREDENTIALS_DIR, STATE_DIR, STATE_FALLBACK_DIR, API_TOKEN_DIR];
/// The sidecar's admin port. Redis Enterprise uses no port near it.
pub const ADMIN_PORT: u16 = 9464;

/// The prefix of all our annotations and labels.
pub const PREFIX: &str = "redis-log-shipper.io/";
/// On a pod: `"false"` opts out. On a namespace: the label that opts in.
pub const INJECT: &str = "redis-log-shipper.io/inject";
/// The outcome, which admission writes: [`INJECTED`].
pub const STATUS: &str = "redis-log-shipper.io/status";
/// The value of [`STATUS`] on an injected pod.
pub const INJECTED: &str = "injected";
/// The hash of what admission added, which changes with the version and the configuration.
pub const HASH: &str = "redis-log-shipper.io/hash";
/// The pull secrets that admission added, so that `uninject` removes no others.
pub const PULL_SECRETS: &str = "redis-log-shipper.io/pull-secrets";

/// The string at a JSON pointer.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The field `name`.
pub(crate) fn name(value: &Value) -> Option<&str> {
    value.get("name")?.as_str()
}

/// The items of the list in the field `list`.
pub(crate) fn items<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// The items of a list in the pod's spec.
pub(crate) fn spec_items<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    items(pod.get("spec").unwrap_or(&Value::Null), list)
}

/// The volume mounts of a container.
pub(crate) fn mounts(container: &Value) -> impl Iterator<Item = &Value> {
    items(container, "volumeMounts")
}

/// The path of a volume mount, without a slash at its end.
pub(crate) fn mount_path(mount: &Value) -> Option<&str> {
    let path = mount.get("mountPath")?.as_str()?;
    let trimmed = path.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/" } else { trimmed })
}

/// One annotation.
pub(crate) fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// The reference to the object that controls the pod.
pub(crate) fn owner(pod: &Value) -> Option<&Value> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}
