//! The webhook's Deployment, its pods and its Service.

use std::collections::BTreeSet;

use findings::{Code, Finding, Outcome};
use jiff::Timestamp;
use serde_json::Value;

use crate::admission::pod::{items, mount_path, mounts, name, text};

/// The container of the webhook.
const CONTAINER: &str = "webhook";

/// The finding for a missing Deployment.
pub(crate) fn missing(namespace: &str, deployment: &str) -> Finding {
    let problem = format!("the Deployment {namespace}/{deployment} does not exist");
    Finding::new(Code::WebhookUnreachable, problem, Code::WebhookMissing.fix())
}

/// Whether a replica is Ready.
pub(crate) fn readiness(deployment: &Value, namespace: &str) -> Outcome {
    let number = |at: &str| deployment.pointer(at).and_then(Value::as_u64).unwrap_or(0);
    let (ready, wanted) = (number("/status/readyReplicas"), number("/spec/replicas"));
    if ready > 0 {
        return Outcome::Passed(format!("{ready} of {wanted} replicas"));
    }
    let name = deployment.get("metadata").and_then(name).unwrap_or_default();
    unreachable(namespace, format!("no replica of the Deployment {namespace}/{name} is Ready"))
}

/// Whether a Service has a ready address.
pub(crate) fn endpoints(slices: &[Value], namespace: &str, service: &str) -> Outcome {
    let endpoints = slices.iter().flat_map(|slice| items(slice, "endpoints"));
    // Without the condition an endpoint counts as ready.
    let is_ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
    match endpoints.filter(is_ready).count() {
        0 => unreachable(namespace, format!("the Service {namespace}/{service} has no ready endpoint")),
        ready => Outcome::Passed(format!("{ready} ready")),
    }
}

/// Whether all pods run the same image.
pub(crate) fn versions(pods: &[Value]) -> Outcome {
    let images: BTreeSet<_> = pods.iter().filter_map(container).filter_map(|it| text(it, "/image")).collect();
    let images: Vec<_> = images.into_iter().collect();
    match images.len() {
        0 => Outcome::Skipped("it has no pods".to_owned()),
        1 => Outcome::Passed(images.join("")),
        _ => Outcome::Skipped(format!("an update is under way: {}", images.join(", "))),
    }
}

/// What the metrics of one replica say about its certificate and its configuration.
pub(crate) fn replica(metrics: &str, namespace: &str, pod: &str, now: Timestamp) -> Outcome {
    let value = |metric: &str| {
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        lines.next().and_then(|value| value.trim().parse::<f64>().ok())
    };
    let found = |code: Code, problem: String| Outcome::Found(Finding::with_names(code, problem, &[]));
    let Some(expires) = value("redis_log_webhook_certificate_expiry_timestamp") else {
        return Outcome::Skipped("its metrics do not say when its certificate expires".to_owned());
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 have an exact f64")]
    let is_expired = expires <= now.as_second() as f64;
    if is_expired {
        return found(Code::CertificateExpired, format!("pod {namespace}/{pod} serves an expired certificate"));
    }
    if value("redis_log_webhook_config_good") == Some(0.0) {
        let problem = format!("pod {namespace}/{pod} still uses an older configuration, because the latest is invalid");
        return found(Code::ConfigurationInvalid, problem);
    }
    if value("redis_log_webhook_certificate_good") == Some(0.0) {
        let problem = format!("pod {namespace}/{pod} still serves an older certificate, because the latest is invalid");
        return found(Code::CertificateExpiresSoon, problem);
    }
    Outcome::Passed(String::new())
}

/// The version of the webhook: the tag of its image. `None` for an image without a tag.
pub(crate) fn version(deployment: &Value) -> Option<String> {
    let image = text(container(deployment)?, "/image")?;
    let image = image.split('@').next().unwrap_or(image);
    let (_, tag) = image.rsplit_once(':')?;
    // The port of a registry.
    (!tag.contains('/')).then(|| tag.to_owned())
}

/// Whether the webhook runs with a flag.
pub(crate) fn has_flag(deployment: &Value, flag: &str) -> bool {
    container(deployment).is_some_and(|container| items(container, "args").any(|arg| arg.as_str() == Some(flag)))
}

/// The Secret of the mounted certificate; `None` where the webhook issues its own.
pub(crate) fn certificate_secret(deployment: &Value) -> Option<&str> {
    let container = container(deployment)?;
    let dir = items(container, "args").find_map(|arg| arg.as_str()?.strip_prefix("--cert-dir="))?;
    let mount = mounts(container).find(|mount| mount_path(mount) == Some(dir.trim_end_matches('/')))?;
    let spec = deployment.pointer("/spec/template/spec")?;
    let volume = items(spec, "volumes").find(|volume| name(volume) == name(mount))?;
    text(volume, "/secret/secretName")
}

/// The container of the webhook in a Deployment or a pod.
fn container(object: &Value) -> Option<&Value> {
    let spec = object.pointer("/spec/template/spec").or_else(|| object.get("spec"))?;
    items(spec, "containers").find(|container| name(container) == Some(CONTAINER))
}

fn unreachable(namespace: &str, problem: String) -> Outcome {
    let fix = Code::WebhookUnreachable.fix().replace("redis-log-shipper get", &format!("{namespace} get"));
    Outcome::Found(Finding::new(Code::WebhookUnreachable, problem, fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(image: &str) -> Value {
        json!({
            "metadata": {"name": "redis-log-webhook"},
            "spec": {"replicas": 2, "template": {"spec": {
                "containers": [{
                    "name": "webhook",
                    "image": image,
                    "args": ["serve", "--cert-dir=/certs", "--step-aside"],
                    "volumeMounts": [{"name": "certificate", "mountPath": "/certs"}],
                }],
                "volumes": [{"name": "certificate", "secret": {"secretName": "tls"}}],
            }}},
        })
    }

    #[test]
    fn reads_version_flags_and_secret_of_a_deployment() {
        let of = |image: &str| version(&deployment(image));
        assert_eq!(of("registry:5000/a/shipper:0.1.0").as_deref(), Some("0.1.0"));
        assert_eq!(of("registry:5000/a/shipper:0.1.0@sha256:ab").as_deref(), Some("0.1.0"));
        assert_eq!(of("registry:5000/a/shipper"), None);
        let deployment = deployment("a");
        assert!(has_flag(&deployment, "--step-aside") && !has_flag(&deployment, "--self-signed"));
        assert_eq!(certificate_secret(&deployment), Some("tls"));
    }

    #[test]
    fn names_a_webhook_that_is_not_ready_or_has_no_endpoint() {
        let code = |outcome: &Outcome| match outcome {
            Outcome::Found(finding) => finding.code.as_str(),
            _ => "ok",
        };
        let mut deployment = deployment("a");
        assert_eq!(code(&readiness(&deployment, "ns")), "RLS102");
        deployment["status"] = json!({"readyReplicas": 1});
        assert_eq!(code(&readiness(&deployment, "ns")), "ok");
        let slice = |ready: bool| json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]});
        assert_eq!(code(&endpoints(&[slice(false)], "ns", "webhook")), "RLS102");
        assert_eq!(code(&endpoints(&[], "ns", "webhook")), "RLS102");
        assert_eq!(code(&endpoints(&[slice(false), slice(true)], "ns", "webhook")), "ok");
    }

    #[test]
    fn reads_certificate_and_configuration_from_the_metrics_of_a_replica() {
        let of = |expires: &str, config: u8| {
            let text = format!(
                "# HELP x\nredis_log_webhook_certificate_expiry_timestamp {expires}\n\
                 redis_log_webhook_config_good {config}\nredis_log_webhook_certificate_good 1\n"
            );
            match replica(&text, "ns", "webhook-0", "2026-01-01T00:00:00Z".parse().unwrap()) {
                Outcome::Found(finding) => finding.code.as_str(),
                Outcome::Passed(_) => "ok",
                Outcome::Skipped(_) => "skip",
            }
        };
        assert_eq!([of("1767225600", 1), of("1767225601", 1), of("1767225601", 0)], ["RLS104", "ok", "RLS107"]);
        assert!(matches!(replica("", "ns", "p", Timestamp::UNIX_EPOCH), Outcome::Skipped(_)));
    }
}
