//! The API server's question to a webhook.

use serde_json::{Value, json};

/// The `AdmissionReview` for the creation of `pod`.
pub fn review_of(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "7f0c8a52-5f0d-4c55-9d86-0d6a7d1f9f3e",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": pod.pointer("/metadata/namespace"),
            "name": pod.pointer("/metadata/name"),
            "operation": "CREATE",
            "object": pod,
            "dryRun": false,
        },
    })
}
