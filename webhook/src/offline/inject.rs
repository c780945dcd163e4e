//! One object in, what the webhook would make of it out: a pod, a workload's pod template, a List, or a whole
//! `AdmissionReview`.

use serde_json::{Value, json};

use crate::admission::review::BadReview;
use crate::admission::{self, Answer, Judged, Verdict};
use crate::config::Config;

/// What became of one object.
#[derive(Debug)]
pub struct Outcome {
    /// The object, injected where that was possible.
    pub object: Value,
    /// Each pod in it: where it stands (a JSON pointer, empty for the object itself), and the verdict.
    pub pods: Vec<(String, Judged)>,
    /// The answer, where the object was an `AdmissionReview`.
    pub answer: Option<Answer>,
}

/// Why an object could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// An `AdmissionReview` that the webhook would refuse.
    #[error("the webhook would refuse this AdmissionReview")]
    Review(#[from] BadReview),
    /// Not an object that has pods.
    #[error("{0} is neither a pod, nor has it a pod template, nor is it a List or an AdmissionReview")]
    NoPod(String),
    /// The object cannot be written as JSON.
    #[error("failed to write the object as JSON")]
    Json(#[from] serde_json::Error),
}

/// Does to `object` what the webhook would, taking `namespace` where the object names none.
pub fn inject(object: Value, namespace: Option<&str>, config: &Config) -> Result<Outcome, InjectError> {
    if kind(&object) == "AdmissionReview" {
        return inject_review(object, config);
    }
    let sites = pod_sites(&object, String::new());
    if sites.is_empty() {
        return Err(InjectError::NoPod(title(&object)));
    }
    let mut outcome = Outcome { object, pods: Vec::new(), answer: None };
    for site in sites {
        let Some(place) = outcome.object.pointer_mut(&site.pointer) else {
            continue;
        };
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": place.get("metadata").cloned().unwrap_or_else(|| json!({})),
            "spec": place.get("spec").cloned().unwrap_or_else(|| json!({})),
        });
        let judged = admission::judge(&pod, site.namespace.as_deref().or(namespace), config);
        if let Verdict::Injected { patch, .. } = &judged.verdict {
            // The template lacks nothing that the patch's paths need: it was tried on the same metadata and spec.
            if let Some(map) = place.as_object_mut() {
                map.entry("metadata").or_insert_with(|| json!({}));
            }
            if let Err(error) = json_patch::patch(place, patch) {
                return Err(InjectError::NoPod(format!("{} ({error})", site.pointer)));
            }
        }
        outcome.pods.push((site.pointer, judged));
    }
    Ok(outcome)
}

fn inject_review(mut object: Value, config: &Config) -> Result<Outcome, InjectError> {
    let answer = admission::review(&serde_json::to_vec(&object)?, config)?;
    if let (Verdict::Injected { pod, .. }, Some(place)) = (&answer.verdict, object.pointer_mut("/request/object")) {
        *place = pod.clone();
    }
    let judged = Judged { verdict: answer.verdict.clone(), warnings: answer.response.warnings.clone() };
    Ok(Outcome { object, pods: vec![("/request/object".to_owned(), judged)], answer: Some(answer) })
}

/// Where in an object a pod, or the template of one, stands.
struct Site {
    pointer: String,
    namespace: Option<String>,
}

fn pod_sites(object: &Value, pointer: String) -> Vec<Site> {
    if kind(object) == "List" || kind(object).ends_with("List") && object.get("items").is_some() {
        let items = object.get("items").and_then(Value::as_array).into_iter().flatten();
        return items.enumerate().flat_map(|(i, item)| pod_sites(item, format!("{pointer}/items/{i}"))).collect();
    }
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).map(ToOwned::to_owned);
    let below = match kind(object) {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    let is_pod = object.pointer(&format!("{below}/spec/containers")).is_some_and(Value::is_array);
    if is_pod { vec![Site { pointer: pointer + below, namespace }] } else { Vec::new() }
}

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// `kind/name`, as kubectl prints it.
pub fn title(object: &Value) -> String {
    let metadata = object.get("metadata");
    let name = ["name", "generateName"].into_iter().find_map(|key| metadata?.get(key)?.as_str()).unwrap_or("(unnamed)");
    let kind = match kind(object) {
        "" => "(no kind)".to_owned(),
        kind => kind.to_lowercase(),
    };
    format!("{kind}/{name}")
}
