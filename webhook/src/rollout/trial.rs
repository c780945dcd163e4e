//! What a new pod would get: a copy of a pod, to be created as a dry run, and what comes back.
//!
//! Only the API server can say whether it reaches the webhook. It calls the webhook for a dry run as well, and stores nothing.

use serde_json::{Map, Value, json};

use crate::admission::presence;
use crate::offline::uninject::uninject;

/// The result of a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// The new pod would have the sidecar with this hash.
    Injected(String),
    /// The new pod would have no sidecar.
    Bare,
    /// The API server refused the dry run before it could tell, with this message.
    Refused(String),
}

impl Trial {
    /// From the pod that the API server would store.
    pub(super) fn of(pod: &Value) -> Self {
        presence::hash(pod).map_or(Self::Bare, |hash| Self::Injected(hash.to_owned()))
    }
}

/// A copy of `pod` without the sidecar and without what the API server, the scheduler and the kubelet added. `None` if the sidecar
/// cannot be removed.
pub(super) fn copy(pod: &Value) -> Option<Value> {
    // The items of a list do not name their kind.
    let mut whole = pod.clone();
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("apiVersion".to_owned(), json!("v1"));
        whole.insert("kind".to_owned(), json!("Pod"));
    }
    let restored = uninject(&whole).object;
    if presence::hash(&restored).is_some() {
        return None;
    }
    let part = |value: &Value, keys: &[&str]| -> Map<String, Value> {
        keys.iter().filter_map(|key| Some(((*key).to_owned(), value.get(*key)?.clone()))).collect()
    };
    let metadata = restored.get("metadata").unwrap_or(&Value::Null);
    let mut kept = part(metadata, &["namespace", "labels", "annotations"]);
    // The name is taken. The API server makes another one.
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or("trial");
    kept.insert("generateName".to_owned(), json!(format!("{name}-")));
    let mut spec = restored.get("spec").cloned().unwrap_or_default();
    if let Some(spec) = spec.as_object_mut() {
        for set_later in ["nodeName", "ephemeralContainers"] {
            spec.remove(set_later);
        }
    }
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Verdict, judge};
    use crate::config::Config;

    fn injected() -> Value {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/a-vanilla.pod.yaml");
        let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let Verdict::Injected(patch) = judge(&pod, Some("redis"), &Config::default()).verdict else {
            panic!("not injected")
        };
        json_patch::patch(&mut pod, &patch).unwrap();
        // As the items of a list.
        pod.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
        pod
    }

    #[test]
    fn copies_the_pod_as_it_was_before_admission() {
        let mut pod = injected();
        pod["metadata"]["uid"] = json!("u");
        pod["spec"]["nodeName"] = json!("worker-1");
        let copy = copy(&pod).unwrap();
        assert_eq!(copy.pointer("/metadata/generateName"), Some(&json!("rec-0-")));
        for gone in ["/metadata/uid", "/metadata/name", "/metadata/ownerReferences", "/spec/nodeName", "/status"] {
            assert_eq!(copy.pointer(gone), None, "{gone}");
        }
        assert_eq!(copy["spec"]["containers"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_copy_gets_the_sidecar_that_the_pod_has() {
        let pod = injected();
        let mut again = copy(&pod).unwrap();
        let Verdict::Injected(patch) = judge(&again, Some("redis"), &Config::default()).verdict else {
            panic!("not injected")
        };
        assert_eq!(Trial::of(&again), Trial::Bare);
        json_patch::patch(&mut again, &patch).unwrap();
        assert_eq!(Trial::of(&again), Trial::of(&pod));
    }
}
