//! One object in, what the webhook would make of it out.

use serde_json::Value;

use super::pods::{kind, sites, title};
use crate::admission::review::BadReview;
use crate::admission::{self, Answer, Judged, Verdict};
use crate::config::Config;

/// What became of one object.
#[derive(Debug)]
pub struct Outcome {
    /// The object, injected where that was possible.
    pub object: Value,
    /// Each pod in it; none for an object that has nothing to do with pods.
    pub pods: Vec<Pod>,
    /// The answer, where the object was an `AdmissionReview`.
    pub answer: Option<Answer>,
}

/// One pod of an object.
#[derive(Debug)]
pub struct Pod {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// Where the pod stands, as a JSON pointer; the verdict's patch is relative to it.
    pub pointer: String,
    /// What became of it.
    pub judged: Judged,
}

/// Why an object could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// An `AdmissionReview` that the webhook would refuse.
    #[error("the webhook would refuse this AdmissionReview")]
    Review(#[from] BadReview),
    /// The object cannot be written as JSON.
    #[error("failed to write the object as JSON")]
    Json(#[from] serde_json::Error),
}

/// Does to `object` what the webhook would, taking `namespace` where the object names none.
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
    let mut judged = Judged { verdict: answer.verdict.clone(), warnings: answer.response.warnings.clone() };
    if let Some(place) = object.pointer_mut("/request/object") {
        apply(&mut judged, place);
    }
    // The patch stays relative to the review's object, as it is answered.
    let pod = Pod { title, pointer: String::new(), judged };
    Ok(Outcome { object, pods: vec![pod], answer: Some(answer) })
}

/// Does to `pod` what was judged.
fn apply(judged: &mut Judged, pod: &mut Value) {
    if let Verdict::Injected(patch) = &judged.verdict
        && let Err(error) = json_patch::patch(pod, patch)
    {
        judged.verdict = Verdict::Failed(format!("failed to apply the patch: {error}"));
    }
}
