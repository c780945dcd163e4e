//! What a pod is given: one container, its volumes, pull secrets, and annotations with the outcome.
//!
//! Fields with a default of the API server (`defaultMode`, a `fieldRef`'s `apiVersion`) are set explicitly. Otherwise our own
//! volumes would look different in the second review of a pod.

use serde::Serialize;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::arguments::{args, env, uses_host_network};
use super::case::{Case, Target};
use super::pod::{
    ADMIN_PORT, API_TOKEN_DIR, CREDENTIALS_DIR, HASH, INJECTED, PULL_SECRETS, RUNTIME_CONFIG, SIDECAR, STATE_DIR,
    STATE_FALLBACK_DIR, STATE_VOLUME, STATUS, TOKEN_VOLUME, name, spec_items,
};
use super::security_context::security_context;
use super::variables::{self, Copied};
use crate::config::{Config, MIN_TOKEN_SECONDS, Quantity, SidecarMode, State};
use runtime::words;

/// The shipper's program in the image. The image also holds the webhook.
const PROGRAM: &str = "/redis-log-shipper";
/// The directory of the log volume that holds the positions, if the volume outlives the pod.
const STATE_SUB_PATH: &str = "log-shipper-state";
/// The kubelet evicts a pod whose emptyDir grows beyond this. The shipper's files take a few KiB, and at most 4 MiB each.
const STATE_SIZE_LIMIT: &str = "64Mi";
/// The other containers wait for a native sidecar to start.
const NATIVE_RISK: &str = "the log shipper is a native sidecar: if its image cannot be pulled or it cannot start, \
     Redis does not start either; sidecarMode container avoids this";
/// `rw-r--r--`: any UID may read its own token. Only the sidecar mounts the volume.
const DEFAULT_MODE: u32 = 0o644;

/// What a pod is given.
#[derive(Debug, Clone)]
pub struct Additions {
    /// The sidecar.
    pub container: Value,
    /// The list that the sidecar is appended to: `containers`, or `initContainers` for a native sidecar.
    pub list: &'static str,
    /// Volumes that the pod does not have yet.
    pub volumes: Vec<Value>,
    /// Pull secrets that the pod does not have yet.
    pub pull_secrets: Vec<Value>,
    /// The outcome.
    pub annotations: Vec<(&'static str, String)>,
    /// Differs between additions of different versions or configurations.
    pub hash: String,
    /// Sentences for the pod's owner.
    pub warnings: Vec<String>,
}

/// Makes the additions for a pod whose logs are at `target`.
pub fn additions(case: &Case<'_>, target: &Target<'_>) -> Additions {
    let Case { pod, config, .. } = *case;
    let is_native = case.is_native();
    let mut volumes = Volumes::of(pod);
    let token = volumes.need(TOKEN_VOLUME, credentials(config));
    let persistent = match config.state {
        State::Persistent => state_mount(pod, target.mount),
        State::Ephemeral => None,
    };
    let empty_dir = volumes.need(STATE_VOLUME, json!({"emptyDir": {"sizeLimit": STATE_SIZE_LIMIT}}));
    let empty_dir = |path: &str| json!({"name": empty_dir, "mountPath": path});
    let has_fallback = persistent.is_some();
    // On a volume without fsGroup, the kubelet creates a directory that only root can write to.
    let state = persistent
        .map_or_else(|| vec![empty_dir(STATE_DIR)], |persistent| vec![persistent, empty_dir(STATE_FALLBACK_DIR)]);
    let copied = copied_expression(target);
    let mut container = json!({
        "name": SIDECAR,
        "image": config.image,
        "imagePullPolicy": words::word(&config.image_pull_policy),
        "command": [PROGRAM],
        "args": args(case),
        "env": env(case, copied.env, has_fallback),
        "resources": resources(case),
        "securityContext": security_context(pod, target.container, config),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(pod, mirrored(target.mount, &copied.expression), &token, state),
    });
    if is_native && let Some(container) = container.as_object_mut() {
        container.insert("restartPolicy".to_owned(), json!("Always"));
    }
    let hash = hash(&(&container, &volumes.needed, &config.image_pull_secrets));
    let pull_secrets = missing_pull_secrets(pod, &config.image_pull_secrets);
    let mut annotations = vec![(STATUS, INJECTED.to_owned()), (HASH, hash.clone())];
    if !pull_secrets.is_empty() {
        annotations.push((PULL_SECRETS, pull_secrets.join(",")));
    }
    Additions {
        annotations,
        pull_secrets: pull_secrets.into_iter().map(|name| json!({"name": name})).collect(),
        list: if is_native { "initContainers" } else { "containers" },
        container,
        volumes: volumes.missing,
        hash,
        warnings: warnings(case),
    }
}

/// What the pod's owner should know about these additions.
fn warnings(case: &Case<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if case.is_native() {
        warnings.push(NATIVE_RISK.to_owned());
    } else if case.config.sidecar_mode == SidecarMode::Native {
        warnings.push(
            "this API server does not support native sidecars, so the log shipper is a plain container".to_owned(),
        );
    }
    let asked = case.config.token.expiration_seconds;
    if asked < MIN_TOKEN_SECONDS {
        warnings.push(format!(
            "a token lifetime of {asked} seconds is too short, so the token gets {MIN_TOKEN_SECONDS} seconds"
        ));
    }
    if uses_host_network(case.pod) {
        warnings.push(format!(
            "the pod uses the host network, where port {ADMIN_PORT} may be taken, so the log shipper serves no metrics"
        ));
    }
    let without_room = amounts(case).filter(|(resource, amount)| !fits(case.pod, resource, amount));
    warnings.extend(without_room.map(|(resource, amount)| {
        format!(
            "the pod-level {resource} has no {} left for the log shipper, so it shares what is there",
            amount.as_str()
        )
    }));
    warnings
}

fn hash(additions: &impl Serialize) -> String {
    // A JSON value can always be written.
    let text = serde_json::to_vec(additions).unwrap_or_default();
    format!("{:016x}", xxh3_64(&text))
}

/// The configured pull secrets that the pod does not name itself, each once.
fn missing_pull_secrets<'a>(pod: &Value, wanted: &'a [String]) -> Vec<&'a str> {
    let present: Vec<_> = spec_items(pod, "imagePullSecrets").filter_map(name).collect();
    let mut missing: Vec<&str> = Vec::new();
    for secret in wanted {
        if !present.contains(&secret.as_str()) && !missing.contains(&secret.as_str()) {
            missing.push(secret);
        }
    }
    missing
}

/// The `subPathExpr` of the log mount, for the sidecar; empty without one. The rules have checked that it can be copied.
fn copied_expression(target: &Target<'_>) -> Copied {
    let expression = target.mount.get("subPathExpr").and_then(Value::as_str).unwrap_or_default();
    variables::copied(expression, target.container).unwrap_or_default()
}

/// The mounts for logs, token and state, and a second mount of the token where the API server would mount another token.
///
/// The API server's mount would give the sidecar a second token. It would also change the pod after us, so the API server
/// would call the webhook a second time for every pod.
fn mounts(pod: &Value, logs: Value, token: &str, state: Vec<Value>) -> Vec<Value> {
    let token = |path: &str| json!({"name": token, "mountPath": path, "readOnly": true});
    let mut mounts = vec![logs, token(CREDENTIALS_DIR)];
    mounts.extend(state);
    if pod.pointer("/spec/automountServiceAccountToken") != Some(&Value::Bool(false)) {
        mounts.push(token(API_TOKEN_DIR));
    }
    mounts
}

/// The log mount for the sidecar: same volume, path and sub-path, but read-only and without propagation.
fn mirrored(mount: &Value, expression: &str) -> Value {
    let mut mirrored = Map::new();
    for key in ["name", "mountPath", "subPath"] {
        if let Some(value) = mount.get(key) {
            mirrored.insert(key.to_owned(), value.clone());
        }
    }
    if !expression.is_empty() {
        mirrored.insert("subPathExpr".to_owned(), json!(expression));
    }
    mirrored.insert("readOnly".to_owned(), Value::Bool(true));
    Value::Object(mirrored)
}

/// The mount of a directory for positions on the log volume; `None` unless the volume is a claim, which outlives the pod.
///
/// If the pod does not list the volume, the StatefulSet has a `volumeClaimTemplate` for it.
fn state_mount(pod: &Value, log_mount: &Value) -> Option<Value> {
    let name = log_mount.get("name")?;
    let volume = spec_items(pod, "volumes").find(|volume| volume.get("name") == Some(name));
    if volume.is_some_and(|volume| volume.get("persistentVolumeClaim").is_none()) {
        return None;
    }
    // Pods may share one claim and separate their logs by an expression. Their positions are separated too.
    let (key, directory) = if log_mount.get("subPathExpr").is_some() {
        ("subPathExpr", format!("{STATE_SUB_PATH}/$(LOG_SHIPPER_POD_NAME)"))
    } else {
        ("subPath", STATE_SUB_PATH.to_owned())
    };
    Some(json!({"name": name, "mountPath": STATE_DIR, key: directory}))
}

/// One volume with the token, the CA files and the runtime configuration (each is optional), and the namespace.
fn credentials(config: &Config) -> Value {
    let seconds = config.token.expiration_seconds.max(MIN_TOKEN_SECONDS);
    let mut token = json!({"expirationSeconds": seconds, "path": "token"});
    if let (Some(audience), Some(token)) = (&config.token.audience, token.as_object_mut()) {
        token.insert("audience".to_owned(), json!(audience));
    }
    let mut sources = vec![json!({"serviceAccountToken": token})];
    sources.extend(config.ca.iter().map(|ca| {
        json!({"configMap": {"name": ca.config_map, "items": [{"key": ca.key, "path": ca.key}], "optional": true}})
    }));
    // A source of this volume, and no volume of its own: an SCC may allow projected volumes and no ConfigMaps.
    sources.extend(config.runtime_config.iter().map(|name| {
        json!({"configMap": {"name": name, "items": [{"key": RUNTIME_CONFIG, "path": RUNTIME_CONFIG}], "optional": true}})
    }));
    sources.push(json!({"downwardAPI": {"items": [
        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
    ]}}));
    json!({"projected": {"defaultMode": DEFAULT_MODE, "sources": sources}})
}

/// Equal requests and limits. The API server refuses a pod whose containers exceed its own budget, so a resource without
/// room in that budget is left out.
fn resources(case: &Case<'_>) -> Value {
    let fitting = amounts(case).filter(|(resource, amount)| fits(case.pod, resource, amount));
    let amounts: Map<_, _> = fitting.map(|(resource, amount)| (resource.to_owned(), json!(amount.as_str()))).collect();
    json!({"limits": amounts, "requests": amounts})
}

/// The configured resources.
fn amounts<'a>(case: &Case<'a>) -> impl Iterator<Item = (&'static str, &'a Quantity)> {
    let config = &case.config.resources;
    let storage = config.ephemeral_storage.iter().map(|amount| ("ephemeral-storage", amount));
    [("cpu", &config.cpu), ("memory", &config.memory)].into_iter().chain(storage)
}

/// Whether a container with `amount` fits into the pod-level resources, if the pod has any. A pod's requests never exceed its
/// limits.
fn fits(pod: &Value, resource: &str, amount: &Quantity) -> bool {
    let read = |value: Option<&Value>| Quantity::parse(value?.as_str()?).ok();
    let of = |holder: &Value, kind: &str| read(holder.pointer(&format!("/resources/{kind}/{resource}")));
    let either = |holder: &Value| of(holder, "requests").or_else(|| of(holder, "limits"));
    let Some(budget) = pod.get("spec").and_then(either) else { return true };
    let others = spec_items(pod, "containers").filter_map(either);
    others.fold(amount.clone(), |sum, other| sum + other) <= budget
}

/// The volumes that a pod has, by name, and the volumes that the sidecar needs.
struct Volumes<'a> {
    taken: BTreeMap<&'a str, &'a Value>,
    needed: Vec<Value>,
    missing: Vec<Value>,
}

impl<'a> Volumes<'a> {
    fn of(pod: &'a Value) -> Self {
        let mut taken = BTreeMap::new();
        for volume in spec_items(pod, "volumes") {
            if let Some(name) = name(volume) {
                taken.entry(name).or_insert(volume);
            }
        }
        Self { taken, needed: Vec::new(), missing: Vec::new() }
    }

    /// The name of a volume with this source: an existing volume, or a new one with the first free name.
    fn need(&mut self, wanted: &str, source: Value) -> String {
        let Value::Object(mut volume) = source else {
            return wanted.to_owned();
        };
        let mut name = wanted.to_owned();
        let mut suffix = 1;
        let found = loop {
            match self.taken.get(name.as_str()) {
                Some(taken) if has_source(taken, &volume) => break true,
                Some(_) => {
                    suffix += 1;
                    name = format!("{wanted}-{suffix}");
                }
                None => break false,
            }
        };
        volume.insert("name".to_owned(), Value::String(name.clone()));
        let volume = Value::Object(volume);
        if !found {
            self.missing.push(volume.clone());
        }
        self.needed.push(volume);
        name
    }
}

/// Whether a volume has this source and its name, and nothing else.
fn has_source(volume: &Value, source: &Map<String, Value>) -> bool {
    let same = |volume: &Map<String, Value>| source.iter().all(|(key, value)| volume.get(key) == Some(value));
    volume.as_object().is_some_and(|volume| volume.len() == source.len() + 1 && same(volume))
}
