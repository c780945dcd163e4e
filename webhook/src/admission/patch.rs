//! From additions to an add-only JSON patch (RFC 6902).
//!
//! Never `remove`, `replace`, `move` or `test`: the patch cannot lose what it does not touch. It adds a list or map as a
//! whole if the pod's is absent, null or empty; otherwise it adds the members one by one.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value};

use super::additions::Additions;

/// The operations that give `pod` its additions.
pub fn patch(pod: &Value, additions: Additions) -> Patch {
    let mut operations = Vec::new();
    append(pod, ["spec", additions.list], vec![additions.container], &mut operations);
    append(pod, ["spec", "volumes"], additions.volumes, &mut operations);
    append(pod, ["spec", "imagePullSecrets"], additions.pull_secrets, &mut operations);
    annotate(pod, additions.annotations, &mut operations);
    Patch(operations)
}

/// Tries `patch` on `pod` without a copy: each operation must find the list or the map that it adds to. An addition takes
/// nothing from the operations after it.
pub fn applies(pod: &Value, patch: &Patch) -> Result<(), String> {
    for operation in &patch.0 {
        let PatchOperation::Add(add) = operation else { return Err(format!("{operation} is no addition")) };
        let parent = add.path.split_back().and_then(|(parent, last)| Some((pod.pointer(parent.as_str())?, last)));
        match parent {
            Some((Value::Object(_), _)) => {}
            Some((Value::Array(_), last)) if last.encoded() == "-" => {}
            _ => return Err(format!("{} is not in a list or a map", add.path)),
        }
    }
    Ok(())
}

fn append(pod: &Value, list: [&str; 2], items: Vec<Value>, operations: &mut Vec<PatchOperation>) {
    if items.is_empty() {
        return;
    }
    let [parent, child] = list;
    let present = pod.get(parent).and_then(|parent| parent.get(child)).and_then(Value::as_array);
    if present.is_none_or(Vec::is_empty) {
        operations.push(add(&list, Value::Array(items)));
    } else {
        operations.extend(items.into_iter().map(|item| add(&[parent, child, "-"], item)));
    }
}

fn annotate(pod: &Value, annotations: Vec<(&'static str, String)>, operations: &mut Vec<PatchOperation>) {
    let at = ["metadata", "annotations"];
    let pairs = annotations.into_iter().map(|(key, value)| (key, Value::String(value)));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn predicts_whether_a_patch_applies() {
        let pod = json!({"metadata": {"annotations": {"a/b": "1"}}, "spec": {"containers": [{}], "volumes": null}});
        for (path, expected) in [
            (&["spec", "containers", "-"][..], true),
            (&["spec", "volumes"], true),
            (&["metadata", "annotations", "c/d"], true),
            (&["spec", "containers", "x"], false),
            (&["spec", "volumes", "-"], false),
            (&["spec", "initContainers", "-"], false),
            (&["metadata", "annotations", "a/b", "x"], false),
            (&["status", "x"], false),
        ] {
            let patch = Patch(vec![add(path, json!({}))]);
            assert_eq!(applies(&pod, &patch).is_ok(), expected, "{path:?}");
            assert_eq!(json_patch::patch(&mut pod.clone(), &patch).is_ok(), expected, "{path:?}");
        }
    }

    #[test]
    fn only_additions_apply() {
        let patch: Patch = serde_json::from_value(json!([{"op": "remove", "path": "/spec"}])).unwrap();
        assert!(applies(&json!({"spec": {}}), &patch).unwrap_err().contains("is no addition"));
    }
}
