//! The sidecar's security context: the restricted profile, with the identity of the database's container.
//!
//! It must not change how a cluster judges the pod. On OpenShift, many SCCs (security context constraints) refuse any seccomp
//! profile. With one on the sidecar, they refuse the pod, or another SCC admits it and changes the database's UID. Under Pod
//! Security `restricted`, each container needs a profile.

use serde_json::{Map, Value, json};

use crate::config::{Config, Seccomp};

/// OpenShift's SCC plugin runs before webhooks and names the SCC that admitted the pod here.
const SCC: [&str; 3] = ["metadata", "annotations", "openshift.io/scc"];

/// The security context of the sidecar in `pod`, whose logs `container` writes.
///
/// In a pod that runs as root, the kubelet would not start a container with `runAsNonRoot`.
pub(super) fn security_context(pod: &Value, container: &Value, config: &Config) -> Value {
    let theirs = |key: &str| container.get("securityContext").and_then(|theirs| theirs.get(key));
    let user = theirs("runAsUser").or_else(|| pod.pointer("/spec/securityContext/runAsUser"));
    let mut context = Map::new();
    context.insert("allowPrivilegeEscalation".to_owned(), Value::Bool(false));
    context.insert("capabilities".to_owned(), json!({"drop": ["ALL"]}));
    context.insert("readOnlyRootFilesystem".to_owned(), Value::Bool(true));
    if user.and_then(Value::as_i64) != Some(0) {
        context.insert("runAsNonRoot".to_owned(), Value::Bool(true));
    }
    if let Some(profile) = seccomp_profile(pod, theirs("seccompProfile"), config.seccomp) {
        context.insert("seccompProfile".to_owned(), profile);
    }
    for key in ["runAsUser", "runAsGroup"] {
        if let Some(id) = theirs(key) {
            context.insert(key.to_owned(), id.clone());
        }
    }
    Value::Object(context)
}

/// The sidecar's own seccomp profile, if it needs one.
///
/// The sidecar inherits the pod's profile. Without one, it gets the profile of the database's container, `theirs`, because
/// whatever admits one such container admits two. Without either, it gets `RuntimeDefault`, unless an SCC has judged the
/// pod: the SCC may refuse any profile.
fn seccomp_profile(pod: &Value, theirs: Option<&Value>, seccomp: Seccomp) -> Option<Value> {
    let is_set = |profile: &Value| profile.get("type").is_some_and(Value::is_string);
    let default = json!({"type": "RuntimeDefault"});
    match seccomp {
        Seccomp::Never => None,
        Seccomp::Always => Some(default),
        Seccomp::Auto if pod.pointer("/spec/securityContext/seccompProfile").is_some_and(is_set) => None,
        Seccomp::Auto => theirs.filter(|theirs| is_set(theirs)).cloned().or_else(|| (!has_scc(pod)).then_some(default)),
    }
}

fn has_scc(pod: &Value) -> bool {
    SCC.iter().try_fold(pod, |value, key| value.get(key)).is_some()
}
