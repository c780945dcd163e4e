//! Malicious reviews: their cost is limited, and their names are checked.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

use redis_log_webhook::admission::{Answer, MOST_WARNINGS, Verdict, outline, review};
use redis_log_webhook::config::Config;
use serde_json::{Map, Value, json};

/// The answer to the creation of the vanilla pod in `namespace`, after `change`.
fn reviewed(namespace: &str, change: impl FnOnce(&mut Value)) -> Result<Answer, String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/a-vanilla.pod.yaml");
    let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut pod);
    let request = json!({
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": namespace, "operation": "CREATE", "object": pod,
    });
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    review(body.to_string().as_bytes(), &Config::default()).map_err(|error| runtime::chain(&error))
}

fn injected(change: impl FnOnce(&mut Value)) -> (Answer, Value) {
    let answer = reviewed("redis", change).unwrap();
    let Verdict::Injected(patch) = &answer.verdict else { panic!("{:?}", answer.verdict) };
    let patch = serde_json::to_value(patch).unwrap();
    (answer, patch)
}

#[test]
fn an_object_of_very_many_values_is_refused_before_they_are_kept() {
    let many = |count: usize| {
        reviewed("redis", |pod| {
            pod["metadata"]["annotations"] = Value::Null;
            let containers = pod["spec"]["containers"].as_array_mut().unwrap();
            containers.extend(std::iter::repeat_n(json!({}), count));
        })
    };
    assert!(many(outline::MOST_VALUES / 2).is_ok());
    let said = many(outline::MOST_VALUES).unwrap_err();
    assert!(said.contains("the object has more than 50000 values"), "{said}");
    // The second parse, of the complete pod, is limited too.
    let said = reviewed("redis", |pod| {
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "log-shipper-token"}));
        pod["spec"]["tolerations"] = Value::from(vec![json!({}); outline::MOST_VALUES]);
    });
    assert!(said.unwrap_err().contains("the object has more than 50000 values"));
}

#[test]
fn limits_the_number_of_warnings() {
    let (answer, _) = injected(|pod| {
        let unknown = (0..20_000).map(|n| (format!("redis-log-shipper.io/unknown-{n}"), json!("x")));
        let mut annotations: Map<String, Value> = unknown.collect();
        annotations.insert("redis-log-shipper.io/zz".to_owned(), json!("x"));
        annotations.insert(format!("redis-log-shipper.io/{}", "a".repeat(1 << 20)), json!("x"));
        pod["metadata"]["annotations"] = Value::Object(annotations);
    });
    assert_eq!(answer.response.warnings.len(), MOST_WARNINGS);
    assert!(answer.response.warnings.iter().all(|warning| warning.chars().count() <= 256));
}

#[test]
fn an_override_that_is_too_long_is_ignored() {
    let (answer, patch) = injected(|pod| {
        pod["metadata"]["annotations"] = json!({"redis-log-shipper.io/include": "*,".repeat(500_000)});
    });
    assert!(answer.response.warnings[0].contains("the value is longer than 2048 bytes"), "{:?}", answer.response);
    assert!(!patch.to_string().contains("--include"));
}

#[test]
fn a_free_name_is_found_among_very_many_volumes_of_ours() {
    let (_, patch) = injected(|pod| {
        let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
        volumes.push(json!({"name": "log-shipper-token"}));
        volumes.extend((2..=10_000).map(|n| json!({"name": format!("log-shipper-token-{n}")})));
    });
    assert!(patch.to_string().contains("\"log-shipper-token-10001\""));
}

#[test]
fn an_expression_of_very_many_variables_is_read_once() {
    let (_, patch) = injected(|pod| {
        let node = &mut pod["spec"]["containers"][0];
        node["env"] = (0..10_000).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
        let expression: String = (0..10_000).rev().fold(String::new(), |all, n| all + &format!("$(V{n})"));
        for mount in node["volumeMounts"].as_array_mut().unwrap() {
            mount["subPathExpr"] = json!(expression);
        }
    });
    assert!(patch.to_string().contains("\"LOG_SHIPPER_SUB_PATH_10000\""));
}

#[test]
fn reads_very_many_unclosed_brackets_once() {
    let (_, patch) = injected(|pod| {
        for mount in pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap() {
            mount["subPathExpr"] = json!("$(".repeat(500_000));
        }
    });
    assert!(patch.to_string().len() > 1_000_000);
}

#[test]
fn refuses_invalid_names_and_quotes_them_shortened() {
    let long = "a".repeat(5_000_000);
    for (namespace, name, expected) in [
        ("x/secrets?y=", "redis-0", "invalid namespace \"x/secrets?y=\": expected a DNS label"),
        ("Redis", "redis-0", "invalid namespace \"Redis\""),
        ("redis", "x\n{\"level\":\"error\"}", "invalid pod name \"x\\n"),
        ("redis", &long, "invalid pod name \"aaa"),
        (&long, "redis-0", "invalid namespace \"aaa"),
    ] {
        let said = reviewed(namespace, |pod| pod["metadata"]["name"] = json!(name)).unwrap_err();
        assert!(said.starts_with(expected) && said.len() < 200, "{said}");
    }
    let said = reviewed("redis", |pod| pod["metadata"]["namespace"] = json!("../kube-system")).unwrap_err();
    assert!(said.starts_with("invalid namespace \"../kube-system\""), "{said}");
}

#[test]
fn logs_an_object_that_is_not_a_pod_under_a_short_name() {
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role"},
        "namespace": "n".repeat(1000), "object": {"metadata": {"name": "r".repeat(1000)}},
    }});
    let answer = review(body.to_string().as_bytes(), &Config::default()).unwrap();
    assert_eq!((answer.name.chars().count(), answer.namespace.unwrap().chars().count()), (254, 254));
}
