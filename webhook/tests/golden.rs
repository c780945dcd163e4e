//! Golden pods: `x.pod.yaml` goes in; `x.patch.json`, `x.injected.yaml` and `x.outcome.txt` must come out.
//!
//! `UPDATE_GOLDEN=1 cargo test -p redis-log-webhook --test golden` writes them anew; the change is then read in git.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use redis_log_webhook::admission::{Judged, Verdict, judge};
use redis_log_webhook::config::Config;
use redis_log_webhook::offline::documents::to_yaml;
use serde_json::Value;

/// With an image that does not change at every release.
fn config() -> Config {
    Config { image: "redis-log-shipper:golden".to_owned(), ..Config::default() }
}

fn pods() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut pods: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".pod.yaml")).collect();
    pods.sort();
    assert!(pods.len() >= 11);
    pods
}

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The files that come out of one pod, each with its text; none where nothing is to be there.
fn outcome(pod: &Value) -> [(&'static str, Option<String>); 3] {
    let Judged { verdict, warnings } = judge(pod, None, &config());
    let mut outcome = verdict.outcome().to_owned();
    for warning in warnings {
        outcome = format!("{outcome}\nwarning: {warning}");
    }
    let (patch, injected) = match &verdict {
        Verdict::Injected { patch, pod } => {
            (Some(serde_json::to_string_pretty(patch).unwrap() + "\n"), Some(to_yaml(pod).unwrap()))
        }
        Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => (None, None),
    };
    [("patch.json", patch), ("injected.yaml", injected), ("outcome.txt", Some(outcome + "\n"))]
}

#[test]
fn every_golden_pod_comes_out_as_it_is_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut faults = Vec::new();
    for path in pods() {
        let name = path.file_name().unwrap().to_string_lossy().replace(".pod.yaml", "");
        for (ending, text) in outcome(&read(&path)) {
            let golden = path.with_file_name(format!("{name}.{ending}"));
            if update {
                match text {
                    Some(text) => std::fs::write(golden, text).unwrap(),
                    None => {
                        let _ = std::fs::remove_file(golden);
                    }
                }
            } else if std::fs::read_to_string(&golden).ok() != text {
                faults.push(golden.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    assert!(faults.is_empty(), "not as written down: {faults:?}; UPDATE_GOLDEN=1 writes them anew");
}

#[test]
fn injecting_twice_changes_nothing_the_second_time() {
    for path in pods() {
        let Verdict::Injected { pod, .. } = judge(&read(&path), None, &config()).verdict else { continue };
        assert_eq!(judge(&pod, None, &config()).verdict.outcome(), "already_injected", "{}", path.display());
    }
}
