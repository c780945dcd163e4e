//! One namespace with Redis Enterprise pods, or with the label that opts in.

use findings::{Code, Finding, Outcome};
use jiff::Timestamp;
use serde_json::Value;

use super::finding;
use crate::admission::pod::{INJECT, name, text};

/// The value of the label that opts in.
pub(crate) const ENABLED: &str = "enabled";

/// Whether a namespace with `pods` Redis Enterprise pods is labelled, and may be.
pub(crate) fn label(namespace: &Value, pods: usize, installation: &str) -> Outcome {
    let name = namespace.get("metadata").and_then(name).unwrap_or_default();
    let label = inject_label(namespace);
    if is_reserved(name, installation) {
        let problem = format!("namespace {name} is reserved, so its pods never get a sidecar");
        return match (label, pods) {
            (None, _) => Outcome::Skipped("the namespace is reserved".to_owned()),
            (Some(_), _) => Outcome::Found(finding(Code::ReservedNamespace, problem, name, "")),
        };
    }
    match label {
        Some(ENABLED) => Outcome::Passed(counted(pods)),
        Some(other) => {
            let problem = format!("namespace {name} has the label {INJECT}={other}: expected {ENABLED}");
            let mut finding = finding(Code::NamespaceNotLabelled, problem, name, "");
            finding.fix = finding.fix.replacen("=enabled", "=enabled --overwrite", 1);
            Outcome::Found(finding)
        }
        None => {
            let problem = format!("namespace {name} has {} and lacks the label {INJECT}", counted(pods));
            Outcome::Found(finding(Code::NamespaceNotLabelled, problem, name, ""))
        }
    }
}

/// The finding for a cluster in which no namespace opted in.
pub(crate) fn none_labelled() -> Finding {
    let problem = format!("no namespace has the label {INJECT}={ENABLED}");
    let fix = format!(
        "Label the namespaces of your Redis Enterprise clusters: kubectl label namespace NAMESPACE {INJECT}={ENABLED}"
    );
    Finding::new(Code::SelectorMatchesNothing, problem, fix)
}

/// Whether the namespace opted in, and is not reserved.
pub(crate) fn is_opted_in(namespace: &Value, installation: &str) -> bool {
    let name = namespace.get("metadata").and_then(name).unwrap_or_default();
    inject_label(namespace) == Some(ENABLED) && !is_reserved(name, installation)
}

/// The value of the label that opts in.
pub(crate) fn inject_label(namespace: &Value) -> Option<&str> {
    namespace.pointer("/metadata/labels")?.get(INJECT)?.as_str()
}

/// When the label was set, or another field by the same client after it. `None` where the API server does not say.
pub(crate) fn labelled_at(namespace: &Value) -> Option<Timestamp> {
    let key = format!("f:{INJECT}");
    let owns = |entry: &&Value| {
        let labels = entry.get("fieldsV1").and_then(|fields| fields.get("f:metadata")?.get("f:labels"));
        labels.is_some_and(|labels| labels.get(&key).is_some())
    };
    let entries = namespace.pointer("/metadata/managedFields").and_then(Value::as_array);
    let times = entries.into_iter().flatten().filter(owns).filter_map(|entry| text(entry, "/time")?.parse().ok());
    times.min()
}

fn counted(pods: usize) -> String {
    if pods == 1 { "1 Redis Enterprise pod".to_owned() } else { format!("{pods} Redis Enterprise pods") }
}

fn is_reserved(name: &str, installation: &str) -> bool {
    name == "default" || name == installation || name.starts_with("kube-") || name.starts_with("openshift-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Found(finding) => finding.code.as_str(),
            Outcome::Passed(_) => "ok",
            Outcome::Skipped(_) => "skip",
        }
    }

    #[test]
    fn names_a_namespace_that_is_not_labelled_or_cannot_be() {
        let of = |name: &str, labels: &Value| {
            let namespace = json!({"metadata": {"name": name, "labels": labels}});
            label(&namespace, 3, "redis-log-shipper")
        };
        let enabled = json!({"redis-log-shipper.io/inject": "enabled"});
        assert_eq!(code(&of("redis", &enabled)), "ok");
        assert_eq!(code(&of("redis", &json!({}))), "RLS201");
        assert_eq!(code(&of("kube-system", &enabled)), "RLS215");
        assert_eq!(code(&of("default", &json!({}))), "skip");
        let Outcome::Found(wrong) = of("redis", &json!({"redis-log-shipper.io/inject": "true"})) else {
            panic!("a wrong value is no finding")
        };
        assert!(wrong.problem.contains("inject=true") && wrong.fix.contains("=enabled --overwrite"), "{wrong}");
    }

    #[test]
    fn takes_the_time_of_the_label_from_the_client_that_set_it() {
        let entry = |time: &str, label: &str| json!({"manager": "kubectl-label", "time": time, "fieldsV1": {"f:metadata": {"f:labels": {label: {}}}}});
        let namespace = json!({"metadata": {"managedFields": [
            entry("2026-01-01T00:00:00Z", "f:team"),
            entry("2026-01-02T00:00:00Z", "f:redis-log-shipper.io/inject"),
        ]}});
        assert_eq!(labelled_at(&namespace), Some("2026-01-02T00:00:00Z".parse().unwrap()));
        assert_eq!(labelled_at(&json!({"metadata": {}})), None);
    }
}
