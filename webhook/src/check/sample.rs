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
use crate::audit::namespace;
use crate::config::Config;

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
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let outcome = match reader.create(&path, &pod(&installed.config)).await {
        Ok(pod) if annotation(&pod, STATUS) == Some(INJECTED) => Outcome::Passed(String::new()),
        Ok(_) => Outcome::Found(not_injected(namespace, report)),
        // A quota or a policy may refuse the sample.
        Err(Unread::Forbidden(said)) if !said.contains("cannot create resource") => {
            Outcome::Skipped(format!("the namespace refuses the sample pod: {said}"))
        }
        Err(unread) => unread.outcome(&What::create("pods")),
    };
    report.add(check, outcome);
}

/// The finding, under the code of the error that explains it.
fn not_injected(namespace: &str, report: &Report) -> Finding {
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
