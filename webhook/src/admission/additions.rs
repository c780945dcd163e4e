//! What a pod is given: one container, its volumes, and the annotations that say so.
//!
//! Fields that the API server would default (`defaultMode`, a `fieldRef`'s `apiVersion`) are written out, so that our
//! own additions look the same when the pod comes by a second time.

use serde::Serialize;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::annotations;
use super::arguments::{args, env};
use super::decision::{Case, SIDECAR, Target, containers};
use super::security_context::security_context;
use super::variables::{self, Copied};
use crate::config::{Config, MIN_TOKEN_SECONDS, Quantity, SidecarMode, State};

/// The shipper in the image, which holds the webhook as well.
const PROGRAM: &str = "/redis-log-shipper";
/// Where the sidecar finds its token, its CAs and its namespace.
pub const CREDENTIALS_DIR: &str = "/var/run/secrets/redis-log-shipper";
/// Where the API server mounts a token of the pod's ServiceAccount into every container that has nothing there.
const API_TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where the sidecar keeps its positions.
pub const STATE_DIR: &str = "/var/lib/redis-log-shipper";
/// Where the sidecar keeps its positions while the log volume's folder for them cannot be written.
pub const STATE_FALLBACK_DIR: &str = "/var/lib/redis-log-shipper-fallback";
/// All that the sidecar mounts besides the logs.
pub const OWN_DIRS: [&str; 4] = [CREDENTIALS_DIR, STATE_DIR, STATE_FALLBACK_DIR, API_TOKEN_DIR];
/// The admin port in the pod, outside every port that Redis Enterprise uses.
pub const ADMIN_PORT: u16 = 9464;

/// The volume with the token, the CAs and the namespace.
pub const TOKEN_VOLUME: &str = "log-shipper-token";
/// The volume with the positions, where they are not on the log volume.
pub const STATE_VOLUME: &str = "log-shipper-state";
/// The folder of the log volume that holds the positions where that volume outlives the pod.
const STATE_SUB_PATH: &str = "log-shipper-state";
/// The kubelet evicts a pod whose emptyDir grows beyond this. The shipper's files have a few KiB, and none takes more than 4 MiB.
const STATE_SIZE_LIMIT: &str = "64Mi";
/// What a native sidecar costs: the others wait for it.
const NATIVE_RISK: &str = "the log shipper is a native sidecar: where its image cannot be pulled or it cannot start, Redis does not \
     start either; sidecarMode container has no such risk";
/// `rw-r--r--`: any UID may read its own token; the volume is the container's alone.
const DEFAULT_MODE: u32 = 0o644;

/// Everything a pod is given.
#[derive(Debug, Clone)]
pub struct Additions {
    /// The sidecar.
    pub container: Value,
    /// Which list it is appended to: `containers`, or `initContainers` for a native sidecar.
    pub list: &'static str,
    /// Volumes the pod does not have yet.
    pub volumes: Vec<Value>,
    /// Pull secrets the pod does not have yet.
    pub pull_secrets: Vec<Value>,
    /// The outcome.
    pub annotations: Vec<(&'static str, String)>,
    /// Tells these additions from those of another version or configuration.
    pub hash: String,
}

/// Makes the additions for a pod whose logs are where `target` says.
pub fn additions(case: &Case<'_>, target: &Target<'_>, warnings: &mut Vec<String>) -> Additions {
    let Case { pod, config, .. } = *case;
    if config.is_native() {
        warnings.push(NATIVE_RISK.to_owned());
    } else if config.sidecar_mode == SidecarMode::Native {
        warnings.push("this API server knows no native sidecars, so the log shipper is a plain container".to_owned());
    }
    let mut volumes = Volumes::of(pod);
    let token = volumes.need(TOKEN_VOLUME, credentials(config, warnings));
    let persistent = match config.state {
        State::Persistent => state_mount(pod, target.mount),
        State::Ephemeral => None,
    };
    let empty_dir = volumes.need(STATE_VOLUME, json!({"emptyDir": {"sizeLimit": STATE_SIZE_LIMIT}}));
    let empty_dir = |path: &str| json!({"name": empty_dir, "mountPath": path});
    let has_fallback = persistent.is_some();
    // On a volume without fsGroup, the kubelet makes a folder that root alone can write.
    let state = persistent
        .map_or_else(|| vec![empty_dir(STATE_DIR)], |persistent| vec![persistent, empty_dir(STATE_FALLBACK_DIR)]);
    let copied = copied_expression(target);
    let mut container = json!({
        "name": SIDECAR,
        "image": config.image,
        "imagePullPolicy": config.image_pull_policy.as_str(),
        "command": [PROGRAM],
        "args": args(case, warnings),
        "env": env(case, copied.env, has_fallback),
        "resources": resources(case, warnings),
        "securityContext": security_context(pod, target.container, config),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(pod, mirrored(target.mount, &copied.expression), &token, state),
    });
    if config.is_native()
        && let Some(container) = container.as_object_mut()
    {
        container.insert("restartPolicy".to_owned(), json!("Always"));
    }
    let hash = hash(&(&container, &volumes.needed, &config.image_pull_secrets));
    let pull_secrets = missing_pull_secrets(pod, &config.image_pull_secrets);
    let mut annotations =
        vec![(annotations::STATUS, annotations::INJECTED.to_owned()), (annotations::HASH, hash.clone())];
    if !pull_secrets.is_empty() {
        annotations.push((annotations::PULL_SECRETS, pull_secrets.join(",")));
    }
    Additions {
        annotations,
        pull_secrets: pull_secrets.into_iter().map(|name| json!({"name": name})).collect(),
        list: if config.is_native() { "initContainers" } else { "containers" },
        container,
        volumes: volumes.missing,
        hash,
    }
}

fn hash(additions: &impl Serialize) -> String {
    // A JSON value can always be written.
    let text = serde_json::to_vec(additions).unwrap_or_default();
    format!("{:016x}", xxh3_64(&text))
}

/// The configured pull secrets that the pod does not name itself, each once.
fn missing_pull_secrets<'a>(pod: &Value, wanted: &'a [String]) -> Vec<&'a str> {
    let present = pod.pointer("/spec/imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
    let present: Vec<_> = present.filter_map(|secret| secret.get("name")?.as_str()).collect();
    let mut missing: Vec<&str> = Vec::new();
    for name in wanted {
        if !present.contains(&name.as_str()) && !missing.contains(&name.as_str()) {
            missing.push(name);
        }
    }
    missing
}

/// The expression of the log mount, for the sidecar; empty where it has none. A decision comes first, so it can be copied.
fn copied_expression(target: &Target<'_>) -> Copied {
    let expression = target.mount.get("subPathExpr").and_then(Value::as_str).unwrap_or_default();
    variables::copied(expression, target.container).unwrap_or_default()
}

/// The logs, the token, the state; and the token once more where the API server would mount another one.
///
/// That other mount would give the sidecar a second token. It would also be a change after ours, for which the API server
/// asks us again: twice the time for every pod.
fn mounts(pod: &Value, logs: Value, token: &str, state: Vec<Value>) -> Vec<Value> {
    let token = |path: &str| json!({"name": token, "mountPath": path, "readOnly": true});
    let mut mounts = vec![logs, token(CREDENTIALS_DIR)];
    mounts.extend(state);
    if pod.pointer("/spec/automountServiceAccountToken") != Some(&Value::Bool(false)) {
        mounts.push(token(API_TOKEN_DIR));
    }
    mounts
}

/// The log mount as the sidecar has it: same volume, same path, same sub-path, read-only, no propagation.
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

/// A folder of the log volume for the positions, where that volume is a claim and so outlives the pod.
///
/// A volume that the pod does not list is a `volumeClaimTemplate` of the StatefulSet whose template this is.
fn state_mount(pod: &Value, log_mount: &Value) -> Option<Value> {
    let name = log_mount.get("name")?;
    let volume = volumes(pod).find(|volume| volume.get("name") == Some(name));
    if volume.is_some_and(|volume| volume.get("persistentVolumeClaim").is_none()) {
        return None;
    }
    // Pods that share one claim and tell their logs apart by an expression must not share one folder either.
    let (key, folder) = if log_mount.get("subPathExpr").is_some() {
        ("subPathExpr", format!("{STATE_SUB_PATH}/$(LOG_SHIPPER_POD_NAME)"))
    } else {
        ("subPath", STATE_SUB_PATH.to_owned())
    };
    Some(json!({"name": name, "mountPath": STATE_DIR, key: folder}))
}

/// The token, the CAs (any may be missing) and the namespace, as one volume of our own.
fn credentials(config: &Config, warnings: &mut Vec<String>) -> Value {
    let asked = config.token.expiration_seconds;
    if asked < MIN_TOKEN_SECONDS {
        warnings.push(format!("a token cannot live for {asked} seconds, so it lives for {MIN_TOKEN_SECONDS}"));
    }
    let mut token = json!({"expirationSeconds": asked.max(MIN_TOKEN_SECONDS), "path": "token"});
    if let (Some(audience), Some(token)) = (&config.token.audience, token.as_object_mut()) {
        token.insert("audience".to_owned(), json!(audience));
    }
    let mut sources = vec![json!({"serviceAccountToken": token})];
    sources.extend(config.ca.iter().map(|ca| {
        json!({"configMap": {"name": ca.config_map, "items": [{"key": ca.key, "path": ca.key}], "optional": true}})
    }));
    sources.push(json!({"downwardAPI": {"items": [
        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
    ]}}));
    json!({"projected": {"defaultMode": DEFAULT_MODE, "sources": sources}})
}

/// Requests and limits, equal. Where the pod as a whole has a budget that does not hold one of them, that one is left out:
/// the API server would refuse the pod.
fn resources(case: &Case<'_>, warnings: &mut Vec<String>) -> Value {
    let config = &case.config.resources;
    let mut amounts = Map::new();
    let storage = config.ephemeral_storage.iter().map(|amount| ("ephemeral-storage", amount));
    for (resource, amount) in [("cpu", &config.cpu), ("memory", &config.memory)].into_iter().chain(storage) {
        if fits(case.pod, resource, amount) {
            amounts.insert(resource.to_owned(), json!(amount.as_str()));
        } else {
            warnings.push(format!(
                "the pod's own {resource} budget has no {} left for the log shipper, which shares what is there",
                amount.as_str()
            ));
        }
    }
    json!({"limits": amounts, "requests": amounts})
}

/// Whether a container that asks for `amount` fits into the pod-level resources, if there are any. What they request is never
/// more than their limit.
fn fits(pod: &Value, resource: &str, amount: &Quantity) -> bool {
    let read = |value: Option<&Value>| Quantity::parse(value?.as_str()?).ok();
    let of = |holder: &Value, kind: &str| read(holder.pointer(&format!("/resources/{kind}/{resource}")));
    let either = |holder: &Value| of(holder, "requests").or_else(|| of(holder, "limits"));
    let Some(budget) = pod.get("spec").and_then(either) else { return true };
    let others = containers(pod, "containers").filter_map(either);
    others.fold(amount.clone(), |sum, other| sum + other) <= budget
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten()
}

/// The volumes a pod has, by name, and those that are still to be added to it.
struct Volumes<'a> {
    taken: BTreeMap<&'a str, &'a Value>,
    needed: Vec<Value>,
    missing: Vec<Value>,
}

impl<'a> Volumes<'a> {
    fn of(pod: &'a Value) -> Self {
        let mut taken = BTreeMap::new();
        for volume in volumes(pod) {
            if let Some(name) = volume.get("name").and_then(Value::as_str) {
                taken.entry(name).or_insert(volume);
            }
        }
        Self { taken, needed: Vec::new(), missing: Vec::new() }
    }

    /// The name of a volume with this source: one that is there, or a new one under the first free name.
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

/// Whether a volume has this source, and nothing else but its name.
fn has_source(volume: &Value, source: &Map<String, Value>) -> bool {
    let same = |volume: &Map<String, Value>| source.iter().all(|(key, value)| volume.get(key) == Some(value));
    volume.as_object().is_some_and(|volume| volume.len() == source.len() + 1 && same(volume))
}
