//! An outcome as text: the object, the patch, or the answer the API server would get.

use serde_json::{Value, json};
use similar::TextDiff;

use super::documents::{DocumentError, to_yaml};
use super::inject::Outcome;
use crate::admission::Verdict;

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The object with the sidecar, as YAML.
    #[default]
    Yaml,
    /// The same as JSON.
    Json,
    /// The JSON patch (RFC 6902), as a list of operations; empty where nothing changes.
    Patch,
    /// The `AdmissionReview` the API server would be answered with.
    Review,
    /// What changes, line by line.
    Diff,
}

/// `outcome` in the form asked for; `before` is the object as it came.
pub fn render(before: &Value, outcome: &Outcome, output: Output) -> Result<String, DocumentError> {
    match output {
        Output::Yaml => to_yaml(&outcome.object),
        Output::Json => pretty(&outcome.object),
        Output::Patch => pretty(&patches(outcome)),
        Output::Review => pretty(&review(outcome)),
        Output::Diff => diff(before, &outcome.object),
    }
}

/// The lines that differ between two objects, as a unified diff of their YAML.
pub fn diff(before: &Value, after: &Value) -> Result<String, DocumentError> {
    let (before, after) = (to_yaml(before)?, to_yaml(after)?);
    Ok(TextDiff::from_lines(&before, &after).unified_diff().context_radius(2).to_string())
}

fn patches(outcome: &Outcome) -> Value {
    let operations = outcome.pods.iter().filter_map(|(pointer, judged)| match &judged.verdict {
        Verdict::Injected { patch, .. } => Some((pointer, patch)),
        Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => None,
    });
    let mut all = Vec::new();
    for (pointer, patch) in operations {
        // The patch of a review's object is the review's answer: it stays relative to that object.
        let prefix = if outcome.answer.is_some() { "" } else { pointer };
        for operation in &patch.0 {
            if let json_patch::PatchOperation::Add(add) = operation {
                all.push(json!({"op": "add", "path": format!("{prefix}{}", add.path), "value": add.value}));
            }
        }
    }
    Value::Array(all)
}

fn review(outcome: &Outcome) -> Value {
    if let Some(answer) = &outcome.answer {
        return json!(answer.review());
    }
    let warnings: Vec<_> = outcome.pods.iter().flat_map(|(_, judged)| &judged.warnings).collect();
    let verdicts: Vec<_> = outcome.pods.iter().map(|(_, judged)| judged.verdict.outcome()).collect();
    let patch = patches(outcome);
    let mut response = json!({"uid": "", "allowed": true, "auditAnnotations": {"outcome": verdicts.join(",")}});
    if let Some(map) = response.as_object_mut() {
        if patch.as_array().is_some_and(|patch| !patch.is_empty()) {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
            map.insert("patch".to_owned(), json!(encoded));
            map.insert("patchType".to_owned(), json!("JSONPatch"));
        }
        if !warnings.is_empty() {
            map.insert("warnings".to_owned(), json!(warnings));
        }
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

fn pretty(value: &Value) -> Result<String, DocumentError> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| DocumentError::Write(error.to_string()))
}
