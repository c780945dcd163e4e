//! Results as text: the objects, their changes, the patch, or the answer to the API server.

use serde_json::{Value, json};
use similar::TextDiff;

use super::documents::{Document, DocumentError, to_json, to_yaml};
use super::inject::Outcome;
use super::pods::title;
use super::uninject::Restored;
use super::yaml;
use crate::admission::Verdict;

/// The output of `inject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The object with the sidecar, as YAML.
    #[default]
    Yaml,
    /// The object with the sidecar, as JSON.
    Json,
    /// The JSON patch (RFC 6902) as a list of operations; empty if nothing changes.
    Patch,
    /// The `AdmissionReview` with the answer to the API server.
    Review,
    /// The changes, line by line.
    Diff,
}

/// A document before and after.
#[derive(Debug)]
pub struct Change<'a> {
    /// The document as it was read.
    pub document: &'a Document,
    /// The new object; `None` if nothing changed.
    pub after: Option<Value>,
}

/// All documents as YAML. An unchanged document keeps its text; a changed one keeps the text before its content.
pub fn yaml(changes: &[Change<'_>]) -> Result<String, DocumentError> {
    let mut all = String::new();
    for change in changes {
        let object = change.after.as_ref().unwrap_or(&change.document.object);
        let text = match (&change.document.text, &change.after) {
            (Some(text), None) => text.clone(),
            (Some(text), Some(after)) => yaml::split_head(text).0 + &to_yaml(after)?,
            (None, _) => to_yaml(object)?,
        };
        if !(all.is_empty() || all.ends_with('\n')) {
            all.push('\n');
        }
        if !(all.is_empty() || yaml::has_marker(&text)) {
            all.push_str("---\n");
        }
        all.push_str(&text);
    }
    Ok(all)
}

/// All objects as JSON, in a row.
pub fn json(changes: &[Change<'_>]) -> Result<String, DocumentError> {
    let objects = changes.iter().filter(|change| !change.document.object.is_null());
    objects.map(|change| to_json(change.after.as_ref().unwrap_or(&change.document.object))).collect()
}

/// The changes, as unified diffs of the objects' YAML.
pub fn diffs(changes: &[Change<'_>]) -> Result<String, DocumentError> {
    let pairs = changes.iter().filter_map(|change| Some((&change.document.object, change.after.as_ref()?)));
    pairs
        .map(|(before, after)| {
            let name = title(before);
            Ok(format!("--- {name}\n+++ {name}\n{}", diff(before, after)?))
        })
        .collect()
}

/// The difference between two objects, as a unified diff of their YAML.
pub fn diff(before: &Value, after: &Value) -> Result<String, DocumentError> {
    let (before, after) = (to_yaml(before)?, to_yaml(after)?);
    Ok(TextDiff::from_lines(&before, &after).unified_diff().context_radius(2).to_string())
}

/// Whether `change` loses comments when it is written as YAML.
pub fn loses_comments(change: &Change<'_>) -> bool {
    let text = change.document.text.as_deref().filter(|_| change.after.is_some());
    text.is_some_and(|text| yaml::has_comments(yaml::split_head(text).1))
}

/// The operations for all pods of an object. Paths are relative to the object; for a review, to the object in it.
pub fn patch(outcome: &Outcome) -> Value {
    let mut all = Vec::new();
    for pod in &outcome.pods {
        let Verdict::Injected(patch) = &pod.judged.verdict else { continue };
        for operation in &patch.0 {
            if let json_patch::PatchOperation::Add(add) = operation {
                all.push(json!({"op": "add", "path": format!("{}{}", pod.pointer, add.path), "value": add.value}));
            }
        }
    }
    Value::Array(all)
}

/// The operations that remove the sidecars of all pods of an object. Paths are relative to the object.
pub fn removals(restored: &Restored) -> Value {
    let patches = restored.pods.iter().filter_map(|pod| pod.outcome.as_ref().ok());
    json!(patches.flat_map(|patch| &patch.0).collect::<Vec<_>>())
}

/// The `AdmissionReview` with the answer: the webhook's own for a review, otherwise the answer for such an object.
pub fn review(outcome: &Outcome) -> Value {
    if let Some(answer) = &outcome.answer {
        return json!(answer.review());
    }
    let warnings: Vec<_> = outcome.pods.iter().flat_map(|pod| &pod.judged.warnings).collect();
    let verdicts: Vec<_> = outcome.pods.iter().map(|pod| pod.judged.verdict.outcome()).collect();
    let patch = patch(outcome);
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
