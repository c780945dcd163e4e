//! The request: the creation of a core/v1 pod, or anything else, which is skipped.

use serde_json::Value;

use super::review::AdmissionRequest;
use super::skip::Skip;

/// The creation of a pod.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The pod as it would be stored.
    pub(super) pod: &'a Value,
    /// The namespace of the request. A pod from a template does not name its namespace itself.
    pub(super) namespace: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// The request, or the reason to skip it.
    pub(super) fn of(request: &'a AdmissionRequest) -> Result<Self, Skip> {
        let kind = &request.kind;
        if !(kind.group.is_empty() && kind.version == "v1" && kind.kind == "Pod") {
            return Err(Skip::NotAPod);
        }
        if request.sub_resource.as_deref().is_some_and(|sub| !sub.is_empty()) {
            return Err(Skip::Subresource);
        }
        if request.operation != "CREATE" {
            return Err(Skip::NotACreation);
        }
        if !request.object.is_object() {
            return Err(Skip::NoObject);
        }
        Ok(Self { pod: &request.object, namespace: request.namespace.as_deref() })
    }
}
