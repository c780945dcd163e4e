//! The time for one review, from the bytes of the request to the bytes of the answer, without HTTP and TLS.
//!
//! Run `cargo bench -p redis-log-webhook --bench admission`. Every name contains the size of the request.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput};
use redis_log_webhook::admission::review;
use redis_log_webhook::config::Config;
use serde_json::{Value, json};

const KIB: usize = 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    let vanilla = golden("a-vanilla");
    let pods = [
        ("a-vanilla", vanilla.clone()),
        ("b-openshift", golden("b-openshift")),
        ("e1-operator, skipped", golden("e1-operator")),
        ("many variables", with_variables(&vanilla, 12 * KIB)),
        ("huge annotation", with_annotation(&vanilla, KIB * KIB)),
    ];
    let config = Config::default();
    let mut group = criterion.benchmark_group("review");
    for (name, pod) in pods {
        let body = review_of(&pod);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let id = BenchmarkId::from_parameter(format!("{name}, {} bytes", body.len()));
        group.bench_with_input(id, &body, |bencher, body| bencher.iter(|| answer(black_box(body), &config)));
    }
    group.finish();
}

/// What the handler does between reading a request and writing its answer.
fn answer(body: &[u8], config: &Config) -> Vec<u8> {
    let answer = review(body, config).unwrap();
    serde_json::to_vec(&answer.review()).unwrap()
}

/// The review of the API server for the creation of `pod`.
fn review_of(pod: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "7f0c8a52-5f0d-4c55-9d86-0d6a7d1f9f3e",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": pod.pointer("/metadata/name"),
            "namespace": pod.pointer("/metadata/namespace"),
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:statefulset-controller",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    serde_json::to_vec(&review).unwrap()
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.pod.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `pod` with so many environment variables that its review has at least `bytes` bytes.
fn with_variables(pod: &Value, bytes: usize) -> Value {
    let mut pod = pod.clone();
    for i in 0.. {
        if review_of(&pod).len() >= bytes {
            break;
        }
        let env = pod.pointer_mut("/spec/containers/0/env").and_then(Value::as_array_mut).unwrap();
        env.push(json!({"name": format!("VARIABLE_{i}"), "value": format!("the value of variable {i}")}));
    }
    pod
}

/// `pod` with one annotation of `bytes` bytes.
fn with_annotation(pod: &Value, bytes: usize) -> Value {
    let mut pod = pod.clone();
    let metadata = pod.pointer_mut("/metadata").and_then(Value::as_object_mut).unwrap();
    metadata.insert("annotations".to_owned(), json!({"example.com/huge": "x".repeat(bytes)}));
    pod
}
