//! From one object to what the webhook makes of it.

use serde_json::Value;

use super::pods::{kind, sites, title};
use crate::admission::review::BadReview;
use crate::admission::{self, Answer, Judged, Verdict};
use crate::config::Config;

/// The result for one object.
#[derive(Debug)]
pub struct Outcome {
    /// The object, with its pods injected where possible.
    pub object: Value,
    /// Its pods. An object that has nothing to do with pods has none.
    pub pods: Vec<Pod>,
    /// The answer, if the object is an `AdmissionReview`.
    pub answer: Option<Answer>,
}

/// One pod of an object.
#[derive(Debug)]
pub struct Pod {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// The pod's position, as a JSON pointer. The verdict's patch is relative to it.
    pub pointer: String,
    /// The verdict.
    pub judged: Judged,
}

/// Why an object cannot be processed.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// An `AdmissionReview` that the webhook would refuse.
    #[error("the webhook would refuse this AdmissionReview")]
    Review(#[from] BadReview),
    /// The object cannot be written as JSON.
    #[error("failed to write the object as JSON")]
    Json(#[from] serde_json::Error),
}

/// Injects the pods of `object`. Without a namespace of its own, a pod is in `namespace`.
pub fn inject(object: &Value, namespace: Option<&str>, config: &Config) -> Result<Outcome, InjectError> {
    if kind(object) == "AdmissionReview" {
        return inject_review(object, config);
    }
    let mut outcome = Outcome { object: object.clone(), pods: Vec::new(), answer: None };
    for site in sites(object) {
        let Some(place) = outcome.object.pointer_mut(&site.pointer) else { continue };
        let mut judged = site.judge(place, namespace, config);
        apply(&mut judged, place);
        outcome.pods.push(Pod { title: site.title, pointer: site.pointer, judged });
    }
    Ok(outcome)
}

fn inject_review(object: &Value, config: &Config) -> Result<Outcome, InjectError> {
    let answer = admission::review(&serde_json::to_vec(object)?, config)?;
    let mut object = object.clone();
    let title = sites(&object).into_iter().next().map_or_else(|| title(&object), |site| site.title);
    let warnings = answer.response.warnings.iter().map(|text| text.as_str().into()).collect();
    let mut judged = Judged { warnings, ..Judged::from(answer.verdict.clone()) };
    if let Some(place) = object.pointer_mut("/request/object") {
        apply(&mut judged, place);
    }
    // The answer's patch stays relative to the object in the review.
    let pod = Pod { title, pointer: String::new(), judged };
    Ok(Outcome { object, pods: vec![pod], answer: Some(answer) })
}

/// Applies the patch of the verdict to `pod`.
fn apply(judged: &mut Judged, pod: &mut Value) {
    if let Verdict::Injected(patch) = &judged.verdict
        && let Err(error) = json_patch::patch(pod, patch)
    {
        judged.verdict = Verdict::Failed(format!("failed to apply the patch: {error}"));
    }
}
