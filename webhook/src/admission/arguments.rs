//! What the sidecar is told: its arguments and its environment.

use serde_json::{Value, json};

use super::additions::{ADMIN_PORT, CREDENTIALS_DIR, STATE_DIR, STATE_FALLBACK_DIR};
use super::decision::Case;
use super::variables::escaped;

/// The arguments. Whatever a pod or the configuration says in them stays a text: only our own variables are expanded.
pub(super) fn args(case: &Case<'_>, warnings: &mut Vec<String>) -> Vec<String> {
    let config = case.config;
    let mut args = vec![
        "run".to_owned(),
        format!("--log-dir={}", escaped(&config.matching.log_dir)),
        format!("--loki-url={}", escaped(&config.push_url())),
        format!("--token-file={CREDENTIALS_DIR}/token"),
    ];
    args.extend(config.ca.iter().map(|source| format!("--ca-file={CREDENTIALS_DIR}/{}", source.key)));
    args.push(format!("--state-dir={STATE_DIR}"));
    args.extend(config.drain_timeout.iter().map(|timeout| format!("--drain-timeout={timeout}")));
    if case.pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        warnings.push(format!(
            "the pod uses the host's network, where port {ADMIN_PORT} may be taken: the log shipper serves no metrics"
        ));
    } else {
        args.push(format!("--listen=0.0.0.0:{ADMIN_PORT}"));
    }
    args.extend(config.include.iter().map(|glob| format!("--include={}", escaped(glob))));
    args.extend(config.exclude.iter().map(|glob| format!("--exclude={}", escaped(glob))));
    args.extend(config.timezone.iter().map(|zone| format!("--timezone={zone}")));
    args.extend(config.log_level.iter().map(|level| format!("--log-level={}", level.as_str())));
    let container = escaped(&config.matching.container);
    let labels = [
        ("job", "redis-enterprise-internal"),
        ("redis_cluster", "$(LOG_SHIPPER_REDIS_CLUSTER)"),
        ("log_type", &config.tenant),
        ("kubernetes_namespace_name", "$(LOG_SHIPPER_POD_NAMESPACE)"),
        ("kubernetes_pod_name", "$(LOG_SHIPPER_POD_NAME)"),
        ("kubernetes_container_name", &container),
        ("kubernetes_host", "$(LOG_SHIPPER_NODE_NAME)"),
    ];
    args.extend(labels.iter().map(|(name, value)| format!("--label={name}={value}")));
    args.extend(config.labels.iter().map(|(name, value)| format!("--label={name}={}", escaped(value))));
    args.extend(config.labels_from.iter().map(|(name, _)| format!("--label={name}=$({})", label_variable(name))));
    args
}

/// The variable that carries the value of a label that comes from a field of the pod.
fn label_variable(label: &str) -> String {
    format!("LOG_SHIPPER_LABEL_{label}")
}

/// The pod's own names by downward API, under names that nobody else takes, and what a copied `subPathExpr` refers to.
pub(super) fn env(case: &Case<'_>, copied: Vec<Value>, has_fallback: bool) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut env = vec![
        field("LOG_SHIPPER_POD_NAME", "metadata.name"),
        field("LOG_SHIPPER_POD_NAMESPACE", "metadata.namespace"),
        field("LOG_SHIPPER_NODE_NAME", "spec.nodeName"),
        field("LOG_SHIPPER_REDIS_CLUSTER", &format!("metadata.labels['{}']", case.config.matching.cluster_label)),
    ];
    env.extend(case.config.labels_from.iter().map(|(name, path)| field(&label_variable(name), path)));
    // Not flags: an image that does not know them yet would not start.
    let setting = |name: &str, value: &str| json!({"name": format!("REDIS_LOG_SHIPPER_{name}"), "value": value});
    env.extend(has_fallback.then(|| setting("STATE_FALLBACK_DIR", STATE_FALLBACK_DIR)));
    env.extend(case.config.multiline.map(|mode| setting("MULTILINE", mode.as_str())));
    env.extend(copied);
    env
}
