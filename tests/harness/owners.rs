//! Objects that own pods, for API servers without the controllers that would create them.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Creates a `StatefulSet`, a `ReplicaSet` or a `Job` of this name, and returns `pod` with it as the owner.
pub async fn owned(
    cluster: &Cluster,
    namespace: &str,
    (kind, name): (&str, &str),
    pod: &Value,
) -> anyhow::Result<Value> {
    let labels = json!({"app": name});
    let template = |restart: &str| {
        let spec = json!({"restartPolicy": restart, "containers": [{"name": "none", "image": "none"}]});
        json!({"metadata": {"labels": labels}, "spec": spec})
    };
    let (version, spec) = if kind == "Job" {
        ("batch/v1", json!({"suspend": true, "template": template("Never")}))
    } else {
        let selector = json!({"matchLabels": labels});
        ("apps/v1", json!({"replicas": 0, "selector": selector, "template": template("Always")}))
    };
    let metadata = json!({"name": name, "namespace": namespace});
    let owner = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
    cluster.apply(&owner).await?;
    let (owners, _) = cluster.api_of(&owner)?;
    let uid = owners.get(name).await?.metadata.uid.context("an object without a uid")?;
    let mut pod = pod.clone();
    let metadata = pod.get_mut("metadata").and_then(Value::as_object_mut).context("a pod without metadata")?;
    let reference = json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true});
    metadata.insert("ownerReferences".to_owned(), json!([reference]));
    Ok(pod)
}
