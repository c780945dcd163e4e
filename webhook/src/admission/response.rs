//! Verdict to answer. Whatever happened, the pod is allowed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::names::cut;
use super::pod::{owner, text};
use super::review::{AdmissionResponse, AdmissionReview, AnsweredReview};
use super::skip::Skip;
use super::surroundings::Identity;
use super::verdict::{Judged, MOST_WARNINGS, Verdict};

/// The API server truncates longer warnings.
const WARNING_CHARS: usize = 256;
/// The API server refuses an Event with a longer message; the pod's name comes before.
const MESSAGE_CHARS: usize = 700;
/// The longest name in Kubernetes.
const NAME_CHARS: usize = 253;

/// The answer to one review, with what the logs and metrics say of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The group and version of the review, echoed.
    api_version: String,
    /// The answer itself.
    pub response: AdmissionResponse,
    /// What became of the pod.
    pub verdict: Verdict,
    /// Whether nothing may be written because of this request.
    pub dry_run: bool,
    /// Where the pod lives, as the request says.
    pub namespace: Option<String>,
    /// The pod's name, or the prefix its name will be made from.
    pub name: String,
    /// The object that manages the pod, as the pod refers to it.
    pub owner: Option<Value>,
    /// Tells the reviews of this pod from those of others.
    pub identity: Option<Identity>,
    /// The warnings, longer than API clients get them.
    pub messages: Vec<String>,
    /// The size of the patch, in bytes before base64.
    pub patch_bytes: usize,
}

impl Answer {
    pub(super) fn new(review: AdmissionReview, judged: Judged) -> Self {
        let AdmissionReview { api_version, request } = review;
        let Judged { mut verdict, warnings } = judged;
        let patch = match &verdict {
            Verdict::Injected(patch) => match serde_json::to_vec(patch) {
                Ok(patch) => Some(patch),
                Err(error) => {
                    verdict = Verdict::Failed(format!("failed to write the patch as JSON: {error}"));
                    None
                }
            },
            Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => None,
        };
        let cut_to =
            |chars| warnings.iter().take(MOST_WARNINGS).map(move |warning| presentable(warning, chars)).collect();
        let (mut messages, mut warnings): (Vec<String>, Vec<String>) = (cut_to(MESSAGE_CHARS), cut_to(WARNING_CHARS));
        if matches!(verdict, Verdict::Failed(_) | Verdict::Panicked(_)) {
            let error = "redis-log-shipper: an internal error kept this pod from getting its log shipper".to_owned();
            messages.push(error.clone());
            warnings.push(error);
        }
        let name = ["/metadata/name", "/metadata/generateName"]
            .into_iter()
            .find_map(|at| text(&request.object, at))
            .unwrap_or_default();
        let owner = owner(&request.object).cloned();
        let identity = Identity::of(&request.object, request.namespace.as_deref());
        let response = AdmissionResponse {
            uid: request.uid,
            allowed: true,
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch: patch.as_ref().map(|patch| STANDARD.encode(patch)),
            warnings,
            audit_annotations: BTreeMap::from([("outcome", audited(&verdict).to_owned())]),
        };
        Self {
            api_version,
            response,
            verdict,
            dry_run: request.dry_run,
            // Only a pod's names were checked.
            namespace: request.namespace.map(|namespace| cut(&namespace, NAME_CHARS)),
            name: cut(name, NAME_CHARS),
            owner,
            identity,
            messages,
            patch_bytes: patch.map_or(0, |patch| patch.len()),
        }
    }

    /// The answer as the API server reads it.
    pub fn review(&self) -> AnsweredReview<'_> {
        AnsweredReview { api_version: &self.api_version, kind: "AdmissionReview", response: &self.response }
    }
}

/// The outcome for the audit trail, which keeps one value a request: the second round of an injected pod says the same.
fn audited(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Skipped(Skip::AlreadyInjected) => "injected",
        verdict => verdict.outcome(),
    }
}

/// A warning as the API server passes it on: no control characters, at most `chars` characters.
fn presentable(warning: &str, chars: usize) -> String {
    format!("redis-log-shipper: {warning}").chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars).collect()
}
