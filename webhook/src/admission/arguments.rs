//! The sidecar's arguments and environment.

use serde_json::{Value, json};

use super::case::Case;
use super::pod::{ADMIN_PORT, CREDENTIALS_DIR, RUNTIME_CONFIG, STATE_DIR, STATE_FALLBACK_DIR};
use super::variables::escaped;
use runtime::words;

/// The arguments. The kubelet expands only our own variables in them: values from the pod and the configuration are escaped.
pub(super) fn args(case: &Case<'_>) -> Vec<String> {
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
    if !uses_host_network(case.pod) {
        args.push(format!("--listen=0.0.0.0:{ADMIN_PORT}"));
    }
    args.extend(config.include.iter().map(|glob| format!("--include={}", escaped(glob))));
    args.extend(config.exclude.iter().map(|glob| format!("--exclude={}", escaped(glob))));
    args.extend(config.timezone.iter().map(|zone| format!("--timezone={zone}")));
    args.extend(config.log_level.iter().map(|level| format!("--log-level={}", words::word(level))));
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

/// Whether the pod's ports are ports of its node.
pub(super) fn uses_host_network(pod: &Value) -> bool {
    pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true))
}

/// The variable with the value of a label from `labelsFrom`.
fn label_variable(label: &str) -> String {
    format!("LOG_SHIPPER_LABEL_{label}")
}

/// The environment: fields of the pod by the downward API, some settings, and the variables of a copied `subPathExpr`.
pub(super) fn env(case: &Case<'_>, copied: Vec<Value>, has_fallback: bool) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut env = vec![
        field("LOG_SHIPPER_POD_NAME", "metadata.name"),
        field("LOG_SHIPPER_POD_NAMESPACE", "metadata.namespace"),
        field("LOG_SHIPPER_NODE_NAME", "spec.nodeName"),
        field("LOG_SHIPPER_REDIS_CLUSTER", &format!("metadata.labels['{}']", case.config.matching.cluster_label)),
    ];
    env.extend(case.config.labels_from.iter().map(|(name, path)| field(&label_variable(name), path)));
    // No flags: an older image does not start with a flag that it does not know.
    let setting = |name: &str, value: &str| json!({"name": format!("REDIS_LOG_SHIPPER_{name}"), "value": value});
    let file = format!("{CREDENTIALS_DIR}/{RUNTIME_CONFIG}");
    env.extend(case.config.runtime_config.as_ref().map(|_| setting("RUNTIME_CONFIG", &file)));
    env.extend(has_fallback.then(|| setting("STATE_FALLBACK_DIR", STATE_FALLBACK_DIR)));
    env.extend(case.config.multiline.map(|mode| setting("MULTILINE", &words::word(&mode))));
    env.extend(case.config.redact.map(|redact| setting("REDACT", &words::word(&redact))));
    let rules = &case.config.redact_patterns;
    env.extend((!rules.is_empty()).then(|| setting("REDACT_PATTERN", &escaped(&rules.join("\n")))));
    let drop = &case.config.drop;
    env.extend((!drop.is_empty()).then(|| setting("DROP", &escaped(&drop.join("\n")))));
    env.extend(copied);
    env
}
