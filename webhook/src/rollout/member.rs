//! One pod of Redis Enterprise, as far as a restart depends on it.

use jiff::Timestamp;
use serde_json::Value;

use crate::admission::pod::{SIDECAR, items, name, owner, spec_items, text};
use crate::admission::presence;
use crate::config::Config;

/// The label that Redis Enterprise puts on the pod of the cluster's master node.
const ROLE_MASTER: &str = "redis.io/role-master";

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
    /// The `RedisEnterpriseCluster`.
    pub(crate) cluster: String,
    /// The number at the end of its name.
    pub(super) ordinal: u32,
    /// Whether it is the master node of its cluster.
    pub(super) is_master: bool,
    /// The kind and the name of its controller.
    pub(super) owner: Option<(String, String)>,
    /// Why the pod is not Ready; `None` if it is.
    pub(super) not_ready: Option<String>,
    /// The hash of the sidecar that the webhook added.
    pub(super) hash: Option<String>,
    /// When it was created, by the clock of the API server.
    pub(super) created: Option<Timestamp>,
    /// Why the sidecar does not start, if it does not.
    pub(super) failing: Option<String>,
}

impl Member {
    /// Reads a pod of the API server.
    pub(super) fn of(pod: &Value, config: &Config) -> Self {
        let string = |at: &str| text(pod, at).unwrap_or_default().to_owned();
        let label = |key: &str| pod.pointer("/metadata/labels")?.get(key)?.as_str();
        let name = string("/metadata/name");
        let ordinal = name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let of_owner = |owner: &Value| Some((text(owner, "/kind")?.to_owned(), text(owner, "/name")?.to_owned()));
        let has_sidecar = ["containers", "initContainers"]
            .into_iter()
            .any(|list| spec_items(pod, list).any(|container| self::name(container) == Some(SIDECAR)));
        Self {
            uid: string("/metadata/uid"),
            cluster: label(&config.matching.cluster_label).unwrap_or_default().to_owned(),
            ordinal,
            is_master: label(ROLE_MASTER).is_some_and(|value| !["0", "false", "no"].contains(&value)),
            owner: owner(pod).and_then(of_owner),
            not_ready: not_ready(pod),
            hash: presence::hash(pod).filter(|_| has_sidecar).map(ToOwned::to_owned),
            created: text(pod, "/metadata/creationTimestamp").and_then(|time| time.parse().ok()),
            failing: waiting(pod).find(|(name, _)| *name == SIDECAR).map(|(_, why)| why),
            name,
        }
    }

    /// The name of its StatefulSet, which creates it again under the same name.
    pub(super) fn stateful_set(&self) -> Option<&str> {
        self.owner.as_ref().filter(|(kind, _)| kind == "StatefulSet").map(|(_, name)| name.as_str())
    }
}

/// Why a pod is not Ready.
fn not_ready(pod: &Value) -> Option<String> {
    if let Some(since) = text(pod, "/metadata/deletionTimestamp") {
        return Some(format!("it is being deleted, at the latest by {since}"));
    }
    let status = pod.get("status").unwrap_or(&Value::Null);
    let mut conditions = items(status, "conditions");
    let ready = conditions.find(|condition| text(condition, "/type") == Some("Ready"));
    let is_ready = ready.and_then(|ready| text(ready, "/status")) == Some("True");
    let containers: Vec<_> = items(status, "containerStatuses")
        .filter(|container| container.get("ready") != Some(&Value::Bool(true)))
        .filter_map(name)
        .collect();
    if is_ready && containers.is_empty() {
        return None;
    }
    if let Some((container, why)) = waiting(pod).next() {
        return Some(format!("its container {container} waits: {why}"));
    }
    if !containers.is_empty() {
        return Some(format!("not ready: {}", containers.join(", ")));
    }
    let unscheduled = items(status, "conditions")
        .find(|it| text(it, "/type") == Some("PodScheduled") && text(it, "/status") == Some("False"))
        .and_then(|it| text(it, "/message"));
    let why = unscheduled.or_else(|| ready.and_then(|ready| text(ready, "/message")));
    Some(why.unwrap_or("its condition Ready is not True").to_owned())
}

/// The containers that wait, and why.
fn waiting(pod: &Value) -> impl Iterator<Item = (&str, String)> {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let all = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|list| items(status, list));
    all.filter_map(|container| {
        let waiting = container.pointer("/state/waiting")?;
        let reason = text(waiting, "/reason").unwrap_or("unknown");
        let why = text(waiting, "/message").map_or_else(|| reason.to_owned(), |said| format!("{reason}: {said}"));
        Some((name(container)?, why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(change: impl FnOnce(&mut Value)) -> Member {
        let status = |name: &str| json!({"name": name, "ready": true, "state": {"running": {}}});
        let mut pod = json!({
            "metadata": {
                "name": "rec-12",
                "uid": "u",
                "labels": {"redis.io/cluster": "rec"},
                "annotations": {"redis-log-shipper.io/status": "injected", "redis-log-shipper.io/hash": "h"},
                "ownerReferences": [{"kind": "StatefulSet", "name": "rec", "controller": true}],
            },
            "spec": {"containers": [{"name": "redis-enterprise-node"}, {"name": SIDECAR}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [status("redis-enterprise-node"), status(SIDECAR)],
            },
        });
        change(&mut pod);
        Member::of(&pod, &Config::default())
    }

    #[test]
    fn reads_what_a_restart_depends_on() {
        let ready = member(|_| {});
        assert_eq!((ready.ordinal, ready.cluster.as_str(), ready.hash.as_deref()), (12, "rec", Some("h")));
        assert_eq!((ready.stateful_set(), ready.not_ready.as_deref(), ready.is_master), (Some("rec"), None, false));
        let master = member(|pod| pod["metadata"]["labels"][ROLE_MASTER] = json!("1"));
        assert!(master.is_master);
        let former = member(|pod| pod["metadata"]["labels"][ROLE_MASTER] = json!("0"));
        assert!(!former.is_master);
        // The annotation alone, as in a pod made of a copied manifest, is no sidecar.
        let copied = member(|pod| pod["spec"]["containers"] = json!([{"name": "redis-enterprise-node"}]));
        assert_eq!(copied.hash, None);
        let bare = member(|pod| pod["metadata"]["ownerReferences"] = json!([]));
        assert_eq!(bare.stateful_set(), None);
    }

    #[test]
    fn says_why_a_pod_is_not_ready() {
        let why = |change: fn(&mut Value)| member(change).not_ready.unwrap();
        assert!(why(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026")).contains("being deleted"));
        assert_eq!(why(|pod| pod["status"]["containerStatuses"][1]["ready"] = json!(false)), "not ready: log-shipper");
        let pull = |pod: &mut Value| {
            let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
            pod["status"]["containerStatuses"][1] = json!({"name": SIDECAR, "ready": false, "state": waiting});
        };
        assert_eq!(why(pull), "its container log-shipper waits: ImagePullBackOff: not found");
        assert_eq!(member(pull).failing.as_deref(), Some("ImagePullBackOff: not found"));
        assert_eq!(why(|pod| pod["status"] = json!({})), "its condition Ready is not True");
        let unscheduled = |pod: &mut Value| {
            pod["status"] =
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]});
        };
        assert_eq!(why(unscheduled), "0/3 nodes");
    }
}
