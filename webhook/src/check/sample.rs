//! A sample pod in a dry run: whether the API server adds the sidecar to it. Nothing is stored.
//!
//! This is the one check that goes the whole way: selectors, Service, certificate, webhook. The API server does not say
//! why it fails; the checks of the installation do.

use findings::{Code, Finding, Outcome, Report, Severity};
use serde_json::{Value, json};

use super::installation::Installed;
use super::namespaces::Namespaces;
use super::reader::{Reader, Unread, What};
use crate::admission::pod::{INJECTED, STATUS, annotation};
use crate::audit::{finding, namespace};
use crate::config::Config;

/// The start of the webhook's warnings.
const OURS: &str = "redis-log-shipper: ";

/// Tries the first namespace that opted in.
pub(crate) async fn check(reader: &Reader, namespaces: &Namespaces, installed: &Installed, report: &mut Report) {
    if !installed.is_registered {
        return;
    }
    let opted_in = namespaces.read.iter().find(|(_, read)| {
        read.as_ref().is_ok_and(|namespace| namespace::is_opted_in(namespace, &installed.config.namespace))
    });
    let Some((namespace, _)) = opted_in else { return };
    let check = format!("a sample pod in namespace {namespace} gets the sidecar (a dry run)");
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let outcome = match reader.try_create(&path, &pod(&installed.config)).await {
        Ok((pod, _)) if annotation(&pod, STATUS) == Some(INJECTED) => Outcome::Passed(String::new()),
        Ok((_, warnings)) => Outcome::Found(not_injected(namespace, &warnings, report)),
        // A quota or a policy may refuse the sample.
        Err(Unread::Forbidden(said)) if !said.contains("cannot create resource") => {
            Outcome::Skipped(format!("the namespace refuses the sample pod: {said}"))
        }
        Err(unread) => unread.outcome(&What::create("pods")),
    };
    report.add(check, outcome);
}

/// The finding, under the code that explains it: in the words of the webhook, or of an error of the installation.
fn not_injected(namespace: &str, warnings: &[String], report: &Report) -> Finding {
    let said = [(Code::FuseBlown, "fuse blown: "), (Code::NoRoom, "the LimitRange ")];
    for (code, start) in said {
        let is_it = |warning: &&String| warning.contains(OURS) && warning.contains(start);
        if let Some(warning) = warnings.iter().find(is_it) {
            let said = warning.split_once(OURS).map_or(warning.as_str(), |(_, said)| said).trim_end_matches('"');
            return finding(code, format!("namespace {namespace}: {said}"), namespace, "POD");
        }
    }
    let explains =
        |finding: &&Finding| finding.severity() == Severity::Error || finding.code == Code::SelectorMatchesNothing;
    let code = report.findings().find(explains).map_or(Code::WebhookUnreachable, |finding| finding.code);
    let problem = format!("the API server creates pods of namespace {namespace} without the sidecar");
    Finding::with_names(code, problem, &[])
}

/// A pod that every namespace should accept, with what the webhook looks for.
fn pod(config: &Config) -> Value {
    let matching = &config.matching;
    let mut labels: serde_json::Map<_, _> =
        matching.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    labels.insert(matching.cluster_label.clone(), json!("log-shipper-check"));
    let amounts = json!({"cpu": "10m", "memory": "16Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "log-shipper-check-", "labels": labels},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": matching.container,
                "image": "log-shipper-check",
                "resources": {"requests": amounts, "limits": amounts},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "logs", "mountPath": matching.log_dir}],
            }],
            "volumes": [{"name": "logs", "emptyDir": {}}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_a_sample_without_sidecar_by_the_webhook_or_by_the_installation() {
        let code = |warnings: &[&str], found: Option<Code>| {
            let mut report = Report::default();
            report.add("before", Outcome::Passed(String::new()));
            if let Some(code) = found {
                report.add("other", Outcome::Found(Finding::new(code, "", "")));
            }
            let warnings: Vec<_> = warnings.iter().map(|it| format!("299 - \"{it}\"")).collect();
            not_injected("redis", &warnings, &report)
        };
        assert_eq!(code(&[], None).code, Code::WebhookUnreachable);
        assert_eq!(code(&[], Some(Code::CaBundleMismatch)).code, Code::CaBundleMismatch);
        assert_eq!(code(&[], Some(Code::SelectorMatchesNothing)).code, Code::SelectorMatchesNothing);
        assert_eq!(code(&[], Some(Code::NamespaceNotLabelled)).code, Code::WebhookUnreachable);
        let fuse = code(&["other", "redis-log-shipper: fuse blown: the log shipper of pod rec-0 does not start"], None);
        assert_eq!(fuse.code, Code::FuseBlown);
        assert_eq!(fuse.problem, "namespace redis: fuse blown: the log shipper of pod rec-0 does not start");
    }
}
