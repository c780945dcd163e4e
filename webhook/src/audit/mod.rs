//! What is not as it should be, as findings. Pure: from objects of the API server, or of files, to outcomes.
//!
//! ```text
//! pod            one Redis Enterprise pod: its sidecar, its annotations, its restarts
//! pass           all pods: what is counted, and what their owners are told
//! namespace      one namespace: its label
//! registration   the MutatingWebhookConfiguration: what it selects, and whether it can do harm
//! sidecar        what a running sidecar says about its pushes
//! certificate    the serving certificate, and the caBundle that must have signed it
//! deployment     the webhook's Deployment, its pods and its Service
//! bindings       roles and bindings in files: who may push
//! configuration  the webhook's configuration file
//! ```
//!
//! `check` and the auditor (`cluster::auditor`) read the objects. What a person may not read is no finding here.

pub(crate) mod bindings;
pub(crate) mod certificate;
pub(crate) mod configuration;
pub(crate) mod deployment;
pub(crate) mod namespace;
pub(crate) mod pass;
pub(crate) mod pod;
pub(crate) mod registration;
pub(crate) mod sidecar;

use findings::{Code, Finding};

/// A finding about the pod `name` of `namespace`, or about the namespace itself, with the fix of the table.
pub(crate) fn finding(code: Code, problem: String, namespace: &str, name: &str) -> Finding {
    let pod = format!("{name} --namespace {namespace}");
    Finding::with_names(code, problem, &[("NAMESPACE", namespace), ("POD", &pod)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_the_names_into_the_fix_of_the_table() {
        let fix = |code| finding(code, String::new(), "redis", "rec-0").fix;
        assert_eq!(fix(Code::PodOlderThanLabel), "Restart the pods: redis-log-webhook rollout redis.");
        assert!(fix(Code::NamespaceNotLabelled).starts_with("kubectl label namespace redis redis-log-shipper.io/"));
        assert!(fix(Code::SidecarRestarts).starts_with("kubectl logs rec-0 --namespace redis --container log-shipper"));
    }
}
