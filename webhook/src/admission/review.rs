//! The wire types of `admission.k8s.io`, v1 and v1beta1.
//!
//! These are our own types, because kube-core writes the patch as an array of numbers and refuses `dryRun: null`. The
//! object inside stays a JSON value.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::names::{LABEL_CHARS, cut, is_label, is_prefix, is_subdomain};
use super::outline;
use super::pod::text;

/// The API group of reviews.
const GROUP: &str = "admission.k8s.io/";
/// How many characters of an invalid value an error quotes.
const QUOTED: usize = 63;

/// Why a body is no `AdmissionReview`. The client is at fault, so the answer is HTTP 400.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// No JSON, or JSON of another shape.
    #[error("failed to parse the AdmissionReview")]
    Json(#[from] serde_json::Error),
    /// Another kind of object.
    #[error("invalid kind {api_version} {kind}: expected admission.k8s.io/v1 or v1beta1 AdmissionReview")]
    Kind {
        /// Its group and version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// A review without a request, for example an answer.
    #[error("invalid AdmissionReview: it has no request")]
    NoRequest,
    /// A namespace name that Kubernetes does not allow.
    #[error("invalid namespace {0:?}: expected a DNS label, such as redis-enterprise")]
    Namespace(String),
    /// A pod name that Kubernetes does not allow.
    #[error("invalid pod name {0:?}: expected a DNS subdomain, such as redis-0")]
    Name(String),
}

/// A review with a request.
#[derive(Debug, Clone)]
pub struct AdmissionReview {
    /// The answer repeats it.
    pub api_version: String,
    /// The request.
    pub request: AdmissionRequest,
}

/// The request of the API server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest {
    /// The answer repeats it.
    pub uid: String,
    /// The kind of the object.
    #[serde(default)]
    pub kind: GroupVersionKind,
    /// The subresource, such as `status`.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// The object's namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(default)]
    pub operation: String,
    /// The object as it would be stored, or its outline if that is enough.
    #[serde(default, deserialize_with = "outline::read")]
    pub object: Value,
    /// Whether the request is a dry run, which must have no side effects.
    #[serde(default, deserialize_with = "null_is_false")]
    pub dry_run: bool,
}

/// A kind with its group and version.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own three words")]
pub struct GroupVersionKind {
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub kind: String,
}

impl AdmissionReview {
    /// Reads a review from the body of an HTTP request.
    pub fn parse(body: &[u8]) -> Result<Self, BadReview> {
        let Envelope { api_version, kind, request } = serde_json::from_slice(body)?;
        let version = api_version.strip_prefix(GROUP);
        if kind != "AdmissionReview" || !matches!(version, Some("v1" | "v1beta1")) {
            return Err(BadReview::Kind { api_version: cut(&api_version, QUOTED), kind: cut(&kind, QUOTED) });
        }
        let mut request: AdmissionRequest = request.ok_or(BadReview::NoRequest)?;
        if !outline::is_enough(&request.object) {
            let Envelope { request: Some(Whole { object }), .. } = serde_json::from_slice(body)? else {
                return Err(BadReview::NoRequest);
            };
            request.object = object;
        }
        Ok(Self { api_version, request })
    }
}

impl AdmissionRequest {
    /// Checks the namespace and the names of the pod.
    pub(super) fn check_names(&self) -> Result<(), BadReview> {
        let named = |at: &str| text(&self.object, at).filter(|name| !name.is_empty());
        let namespaces = [self.namespace.as_deref().filter(|name| !name.is_empty()), named("/metadata/namespace")];
        if let Some(namespace) = namespaces.into_iter().flatten().find(|name| !is_label(name)) {
            return Err(BadReview::Namespace(cut(namespace, LABEL_CHARS)));
        }
        let (name, prefix) = (named("/metadata/name"), named("/metadata/generateName"));
        let wrong = name.filter(|name| !is_subdomain(name)).or_else(|| prefix.filter(|prefix| !is_prefix(prefix)));
        wrong.map_or(Ok(()), |name| Err(BadReview::Name(cut(name, LABEL_CHARS))))
    }
}

/// The JSON form of a review.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<R> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<R>,
}

/// Only the object of a request, read completely.
#[derive(Deserialize)]
struct Whole {
    #[serde(default, deserialize_with = "outline::read_whole")]
    object: Value,
}

/// The answer's envelope.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredReview<'a> {
    /// The same as in the request.
    pub api_version: &'a str,
    /// `AdmissionReview`.
    pub kind: &'static str,
    /// The answer.
    pub response: &'a AdmissionResponse,
}

/// The answer: always allowed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionResponse {
    /// The same as in the request.
    pub uid: String,
    /// Always true: our failure must not keep a database pod from being created.
    pub allowed: bool,
    /// The JSON patch in base64; absent if nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// `JSONPatch`, if there is a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    /// Sentences that API clients show to their users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Entries for the audit log.
    pub audit_annotations: std::collections::BTreeMap<&'static str, String>,
}

fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(false))
}
