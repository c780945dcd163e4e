//! Additions to an add-only JSON patch (RFC 6902).
//!
//! Never `remove`, `replace`, `move` or `test`: what is not touched cannot be lost. A list or map that is absent, null or
//! empty is added whole; otherwise each member is added to it.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value};

use super::additions::Additions;

/// The operations that give `pod` its additions.
pub fn patch(pod: &Value, additions: &Additions) -> Patch {
    let mut operations = Vec::new();
    append(pod, ["spec", additions.list], std::slice::from_ref(&additions.container), &mut operations);
    append(pod, ["spec", "volumes"], &additions.volumes, &mut operations);
    annotate(pod, &additions.annotations, &mut operations);
    Patch(operations)
}

fn append(pod: &Value, list: [&str; 2], items: &[Value], operations: &mut Vec<PatchOperation>) {
    if items.is_empty() {
        return;
    }
    let [parent, child] = list;
    let present = pod.get(parent).and_then(|parent| parent.get(child)).and_then(Value::as_array);
    if present.is_none_or(Vec::is_empty) {
        operations.push(add(&list, Value::Array(items.to_vec())));
    } else {
        operations.extend(items.iter().map(|item| add(&[parent, child, "-"], item.clone())));
    }
}

fn annotate(pod: &Value, annotations: &[(&'static str, String)], operations: &mut Vec<PatchOperation>) {
    let at = ["metadata", "annotations"];
    let pairs = annotations.iter().map(|(key, value)| (*key, Value::String(value.clone())));
    let present = pod.get("metadata").and_then(|metadata| metadata.get("annotations")).and_then(Value::as_object);
    if present.is_none_or(Map::is_empty) {
        let map: Map<String, Value> = pairs.map(|(key, value)| (key.to_owned(), value)).collect();
        operations.push(add(&at, Value::Object(map)));
    } else {
        operations.extend(pairs.map(|(key, value)| add(&[at[0], at[1], key], value)));
    }
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}
