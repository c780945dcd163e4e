//! Finds the pods in an object: the object itself, a template, the items of a list, a review, or the pods that an operator
//! creates.

use serde_json::{Value, json};

use super::redis_cluster;
use crate::admission::{self, Judged, Verdict};
use crate::config::Config;

/// Where a workload may have a pod template, as JSON pointers.
const TEMPLATES: [&str; 3] = ["/spec/template", "/spec/jobTemplate/spec/template", "/template"];

/// Kubernetes gives a pod the pull secrets of its `ServiceAccount` only if the pod names none. In a cluster, this happens
/// before the webhook is called.
const ACCOUNT_SHUT_OUT: &str = "with imagePullSecrets in the manifest, Kubernetes no longer adds those of the pod's \
     ServiceAccount; add them to the manifest if Redis needs them";

/// The position of a pod in an object, or of something that creates pods.
#[derive(Debug, Clone)]
pub struct Site {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// The position, as a JSON pointer; empty for the object itself.
    pub pointer: String,
    /// Its namespace, if the object names one.
    pub namespace: Option<String>,
    holder: Holder,
}

/// What is at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Metadata and spec of a pod.
    Pod,
    /// A `RedisEnterpriseCluster`, for which an operator creates pods.
    RedisCluster,
}

/// All sites of `object`, in order.
pub fn sites(object: &Value) -> Vec<Site> {
    let mut sites = Vec::new();
    find(object, kind(object), None, String::new(), &mut sites);
    sites
}

/// `kind/name`, as kubectl prints it.
pub fn title(object: &Value) -> String {
    titled(object, kind(object))
}

/// The kind of `object`; empty if it has none.
pub(crate) fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

impl Site {
    /// What is at this site.
    pub(super) fn holder(&self) -> Holder {
        self.holder
    }

    /// The pod at this site, or the pod that is created from it. `place` is the value at this site.
    pub(crate) fn pod(&self, place: &Value) -> Value {
        match self.holder {
            Holder::Pod => {
                let part = |key: &str| place.get(key).cloned().unwrap_or_else(|| json!({}));
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": part("metadata"), "spec": part("spec")})
            }
            Holder::RedisCluster => redis_cluster::pod_without_sidecar(place),
        }
    }

    /// Judges the pod of `place`, with a patch that is relative to `place`. `namespace` is for objects that name none.
    pub(crate) fn judge(&self, place: &Value, namespace: Option<&str>, config: &Config) -> Judged {
        let namespace = self.namespace.as_deref().or(namespace);
        match self.holder {
            Holder::Pod => {
                let pod = self.pod(place);
                let mut judged = admission::judge(&pod, namespace, config);
                if matches!(judged.verdict, Verdict::Injected(_)) && shuts_out_account(&pod, config) {
                    judged.warnings.push(ACCOUNT_SHUT_OUT.into());
                }
                judged
            }
            Holder::RedisCluster => redis_cluster::judge(place, namespace, config),
        }
    }
}

fn find(object: &Value, kind: &str, namespace: Option<&str>, pointer: String, sites: &mut Vec<Site>) {
    // The namespace of a request decides, as in the webhook.
    let namespace = namespace.or_else(|| object.pointer("/metadata/namespace").and_then(Value::as_str));
    if let (Some(of), Some(items)) = (kind.strip_suffix("List"), object.get("items").and_then(Value::as_array)) {
        for (i, item) in items.iter().enumerate() {
            // The items of a PodList may have no kind.
            let kind = item.get("kind").and_then(Value::as_str).unwrap_or(of);
            find(item, kind, namespace, format!("{pointer}/items/{i}"), sites);
        }
        return;
    }
    if kind == "AdmissionReview" {
        let namespace = object.pointer("/request/namespace").and_then(Value::as_str);
        if let Some(asked) = object.pointer("/request/object") {
            let kind = object.pointer("/request/kind/kind").and_then(Value::as_str).unwrap_or_default();
            find(asked, kind, namespace, pointer + "/request/object", sites);
        }
        return;
    }
    let mut push = |below: &str, holder| {
        let namespace = namespace.map(ToOwned::to_owned);
        sites.push(Site { title: titled(object, kind), pointer: format!("{pointer}{below}"), namespace, holder });
    };
    let api = object.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
    if kind == "Pod" && api == "v1" {
        push("", Holder::Pod);
    } else if redis_cluster::is_one(api, kind) {
        push("", Holder::RedisCluster);
    } else if let Some(below) = TEMPLATES.into_iter().find(|below| has_containers(object.pointer(below))) {
        push(below, Holder::Pod);
    }
}

fn shuts_out_account(pod: &Value, config: &Config) -> bool {
    let named = pod.pointer("/spec/imagePullSecrets").and_then(Value::as_array);
    !config.image_pull_secrets.is_empty() && named.is_none_or(Vec::is_empty)
}

fn has_containers(template: Option<&Value>) -> bool {
    template.and_then(|template| template.pointer("/spec/containers")).is_some_and(Value::is_array)
}

fn titled(object: &Value, kind: &str) -> String {
    let metadata = object.get("metadata");
    let name = ["name", "generateName"].into_iter().find_map(|key| metadata?.get(key)?.as_str()).unwrap_or("(unnamed)");
    if kind.is_empty() { format!("(no kind)/{name}") } else { format!("{}/{name}", kind.to_lowercase()) }
}
