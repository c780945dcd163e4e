//! From the verdict to the answer. The pod is always allowed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::names::cut;
use super::pod::{owner, text};
use super::pusher::Pusher;
use super::review::{AdmissionResponse, AdmissionReview, AnsweredReview};
use super::skip::Skip;
use super::surroundings::Identity;
use super::verdict::{Judged, MOST_WARNINGS, Verdict};
use super::warning::Warning;

/// The API server cuts longer warnings.
const WARNING_CHARS: usize = 256;
/// The API server refuses an Event whose message has more than 1024 characters. The pod's name comes before it, and the
/// section that explains its code behind it.
const MESSAGE_CHARS: usize = 600;
/// The longest name in Kubernetes.
const NAME_CHARS: usize = 253;

/// The answer to one review, with details for logs and metrics.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The group and version of the review, which the answer repeats.
    api_version: String,
    /// The answer itself.
    pub response: AdmissionResponse,
    /// The verdict on the pod.
    pub verdict: Verdict,
    /// Whether the request is a dry run, which must have no side effects.
    pub dry_run: bool,
    /// The namespace of the request.
    pub namespace: Option<String>,
    /// The pod's name, or its `generateName`.
    pub name: String,
    /// The pod's reference to the object that controls it.
    pub owner: Option<Value>,
    /// Identifies the reviews of one pod.
    pub identity: Option<Identity>,
    /// Who will push, if the pod was injected.
    pub pusher: Option<Pusher>,
    /// The warnings for Events: cut later than those for API clients, and with their codes.
    pub messages: Vec<String>,
    /// The size of the patch, in bytes before base64.
    pub patch_bytes: usize,
}

impl Answer {
    pub(super) fn new(review: AdmissionReview, judged: Judged) -> Self {
        let AdmissionReview { api_version, request } = review;
        let Judged { mut verdict, warnings, pusher } = judged;
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
        let shown = || warnings.iter().take(MOST_WARNINGS);
        let mut messages: Vec<_> = shown().map(message).collect();
        let mut warnings: Vec<_> = shown().map(|warning| presentable(warning, WARNING_CHARS)).collect();
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
            // The names in other objects were not checked.
            namespace: request.namespace.map(|namespace| cut(&namespace, NAME_CHARS)),
            name: cut(name, NAME_CHARS),
            owner,
            identity,
            pusher: pusher.filter(|_| patch.is_some()),
            messages,
            patch_bytes: patch.map_or(0, |patch| patch.len()),
        }
    }

    /// The answer as the API server reads it.
    pub fn review(&self) -> AnsweredReview<'_> {
        AnsweredReview { api_version: &self.api_version, kind: "AdmissionReview", response: &self.response }
    }
}

/// The outcome for the audit trail, which keeps one value per request. The second review of an injected pod has the same
/// outcome.
fn audited(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Skipped(Skip::AlreadyInjected) => "injected",
        verdict => verdict.outcome(),
    }
}

/// A warning for an Event, with the section that explains its code.
fn message(warning: &Warning) -> String {
    let text = presentable(warning, MESSAGE_CHARS);
    warning.code.map_or_else(|| text.clone(), |code| code.explained(&text))
}

/// A warning as the API server accepts it: no control characters, at most `chars` characters.
fn presentable(warning: &str, chars: usize) -> String {
    format!("redis-log-shipper: {warning}").chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars).collect()
}
