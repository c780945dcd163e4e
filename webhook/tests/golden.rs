//! Golden pods: `x.pod.yaml` is the input; `x.patch.json`, `x.injected.yaml` and `x.outcome.txt` are the expected output.
//!
//! `golden/` has the pods that operators create. `golden/shapes/` has one small pod for each shape that changes the
//! outcome. A `x.config.yaml` beside a pod is the webhook's configuration; without it, all defaults apply.
//!
//! `UPDATE_GOLDEN=1 cargo test -p redis-log-webhook --test golden` rewrites the files. Read the change with git.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use redis_log_webhook::admission::{Judged, Verdict, judge, review};
use redis_log_webhook::config::Config;
use redis_log_webhook::offline::documents::to_yaml;
use serde_json::{Value, json};

/// An image that stays the same in every release.
const IMAGE: &str = "redis-log-shipper:golden";
/// The namespace of the request for pods that name none.
const NAMESPACE: &str = "redis";
/// Pods that were injected before: the result of `minimal` is the input again, the second one under another configuration.
const AGAIN: [&str; 2] = ["injected-already", "injected-by-another-configuration"];

/// The namespace of the request that creates `pod`.
fn namespace(pod: &Value) -> Option<&str> {
    pod.pointer("/metadata/namespace").and_then(Value::as_str).or(Some(NAMESPACE))
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The path of every pod, without `.pod.yaml`.
fn pods() -> BTreeSet<PathBuf> {
    let dirs = [dir(), dir().join("shapes")];
    let paths = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    let pods: BTreeSet<_> = paths.filter_map(|path| Some(path.to_str()?.strip_suffix(".pod.yaml")?.into())).collect();
    assert!(pods.len() > 60, "only {} pods", pods.len());
    pods
}

fn file(pod: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{ending}", pod.display()))
}

fn read(pod: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(file(pod, "pod.yaml")).unwrap()).unwrap()
}

fn config(pod: &Path) -> Config {
    let path = file(pod, "config.yaml");
    let mut config = if path.exists() { Config::read(&path).unwrap() } else { Config::default() };
    if config.image == Config::default().image {
        IMAGE.clone_into(&mut config.image);
    }
    config
}

/// The files for one pod, with their content; `None` where no file is expected.
fn outcome(pod: &Path) -> [(&'static str, Option<String>); 3] {
    let mut object = read(pod);
    let Judged { verdict, warnings, .. } = judge(&object, namespace(&object), &config(pod));
    let mut outcome = verdict.outcome().to_owned();
    for warning in warnings {
        outcome = format!("{outcome}\nwarning: {warning}");
    }
    let (patch, injected) = match &verdict {
        Verdict::Injected(patch) => {
            json_patch::patch(&mut object, patch).unwrap();
            (Some(lines(patch)), Some(to_yaml(&object).unwrap()))
        }
        Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => (None, None),
    };
    [("patch.json", patch), ("injected.yaml", injected), ("outcome.txt", Some(outcome + "\n"))]
}

#[test]
fn a_review_is_answered_as_the_pod_in_it_is_judged() {
    for path in pods() {
        let (pod, config) = (read(&path), config(&path));
        let request = json!({
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": namespace(&pod), "operation": "CREATE", "object": pod,
        });
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let answer = review(body.to_string().as_bytes(), &config).unwrap();
        let judged = judge(&pod, namespace(&pod), &config);
        assert_eq!(answer.verdict.outcome(), judged.verdict.outcome(), "{}", path.display());
        if let (Verdict::Injected(answered), Verdict::Injected(judged)) = (&answer.verdict, &judged.verdict) {
            assert_eq!(answered, judged, "{}", path.display());
        }
    }
}

/// A patch with one operation per line, without values, which the injected pod shows.
fn lines(patch: &json_patch::Patch) -> String {
    let operations: Vec<_> = patch.0.iter().map(|operation| serde_json::to_string(operation).unwrap()).collect();
    format!("[\n{}\n]\n", operations.join(",\n"))
}

/// Compares a file with its expected content, or rewrites it. Adds the name of a different file to `faults`.
fn settle(path: &Path, text: Option<String>, faults: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        if std::fs::read_to_string(path).ok() != text {
            faults.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    } else if let Some(text) = text {
        std::fs::write(path, text).unwrap();
    } else {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn every_golden_pod_has_its_expected_outcome() {
    let mut faults = Vec::new();
    for pod in pods() {
        for (ending, text) in outcome(&pod) {
            settle(&file(&pod, ending), text, &mut faults);
        }
    }
    let shape = |name: &str| dir().join("shapes").join(name);
    let again = std::fs::read_to_string(file(&shape("minimal"), "injected.yaml")).unwrap();
    for pod in AGAIN.map(shape) {
        settle(&file(&pod, "pod.yaml"), Some(again.clone()), &mut faults);
        for (ending, text) in outcome(&pod) {
            settle(&file(&pod, ending), text, &mut faults);
        }
    }
    assert!(faults.is_empty(), "not as written down: {faults:?}; UPDATE_GOLDEN=1 writes them anew");
}

#[test]
fn injecting_twice_changes_nothing_the_second_time() {
    for path in pods() {
        let (mut pod, config) = (read(&path), config(&path));
        let Verdict::Injected(patch) = judge(&pod, namespace(&pod), &config).verdict else { continue };
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(judge(&pod, namespace(&pod), &config).verdict.outcome(), "already_injected", "{}", path.display());
    }
}
