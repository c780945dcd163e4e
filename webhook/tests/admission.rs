//! Pods and requests of every shape, and the outcome that each must have.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use base64::Engine as _;
use redis_log_webhook::admission::surroundings::Surroundings;
use redis_log_webhook::admission::{self, Verdict, review, review_within};
use redis_log_webhook::config::{Config, SidecarMode, State};
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.pod.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A pod that is injected, after `change`.
fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = fixture("a-vanilla");
    change(&mut pod);
    pod
}

fn annotated(annotations: &Value) -> Value {
    pod(|pod| pod["metadata"]["annotations"] = annotations.clone())
}

/// The outcome for a pod.
struct Judged {
    verdict: Verdict,
    warnings: Vec<String>,
    /// The pod after its patch, if there is one.
    pod: Value,
}

fn judge(pod: &Value, namespace: Option<&str>, config: &Config) -> Judged {
    judge_among(pod, namespace, config, &Surroundings::default())
}

fn judge_among(pod: &Value, namespace: Option<&str>, config: &Config, known: &Surroundings) -> Judged {
    let admission::Judged { verdict, warnings, .. } = admission::judge_among(pod, namespace, config, known);
    let mut pod = pod.clone();
    if let Verdict::Injected(patch) = &verdict {
        json_patch::patch(&mut pod, patch).unwrap();
    }
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Judged { verdict, warnings, pod }
}

fn judged(pod: &Value) -> Judged {
    judge(pod, None, &Config::default())
}

#[track_caller]
fn injected(judged: &Judged) -> &Value {
    match &judged.verdict {
        Verdict::Injected(_) => &judged.pod,
        other => panic!("not injected: {other:?}"),
    }
}

#[track_caller]
fn sidecar(judged: &Judged) -> &Value {
    let pod = injected(judged);
    ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten()
        .find(|container| container["name"] == "log-shipper")
        .unwrap()
}

#[track_caller]
fn arg<'a>(judged: &'a Judged, flag: &str) -> Option<&'a str> {
    let args = sidecar(judged)["args"].as_array().unwrap();
    args.iter().find_map(|arg| arg.as_str()?.strip_prefix(flag)?.strip_prefix('='))
}

/// The volume with the sidecar's token.
#[track_caller]
fn token_volume(judged: &Judged) -> &Value {
    let name = &sidecar(judged)["volumeMounts"][1]["name"];
    injected(judged)["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == *name).unwrap()
}

fn outcome(pod: &Value) -> &'static str {
    judged(pod).verdict.outcome()
}

#[track_caller]
fn assert_warned(judged: &Judged, part: &str) {
    assert!(judged.warnings.iter().any(|warning| warning.contains(part)), "{part:?} is not in {:?}", judged.warnings);
}

mod protocol {
    use super::*;

    fn asked(change: impl FnOnce(&mut Value)) -> Value {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "namespace": "redis",
                "operation": "CREATE",
                "object": fixture("a-vanilla"),
            },
        });
        change(&mut review);
        review
    }

    fn answered(review: &Value) -> Value {
        let answer = super::review(review.to_string().as_bytes(), &Config::default()).unwrap();
        serde_json::to_value(answer.review()).unwrap()
    }

    #[test]
    fn echoes_version_kind_and_uid() {
        for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
            let answer = answered(&asked(|asked| asked["apiVersion"] = json!(version)));
            assert_eq!(answer["apiVersion"], version);
            assert_eq!(answer["kind"], "AdmissionReview");
            assert_eq!(answer["response"]["uid"], "u-1");
        }
    }

    #[test]
    fn answers_a_patch_in_base64_that_makes_the_injected_pod() {
        let answer = answered(&asked(|_| {}));
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let patch = answer["response"]["patch"].as_str().unwrap();
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut pod = fixture("a-vanilla");
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(&pod, injected(&judged(&fixture("a-vanilla"))));
    }

    #[test]
    fn refuses_a_body_that_is_not_a_review() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let bodies: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b"{".to_vec(),
            b"\xff\xfe".to_vec(),
            deep.into_bytes(),
            asked(|asked| asked["request"] = Value::Null).to_string().into_bytes(),
            asked(|asked| asked["kind"] = json!("Pod")).to_string().into_bytes(),
            asked(|asked| asked["apiVersion"] = json!("admission.k8s.io/v2")).to_string().into_bytes(),
            asked(|asked| asked["request"]["uid"] = json!(7)).to_string().into_bytes(),
        ];
        for body in bodies {
            assert!(review(&body, &Config::default()).is_err(), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn skips_requests_that_do_not_create_a_pod() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (|request| request["kind"]["kind"] = json!("Deployment"), "not_a_pod"),
            (|request| request["kind"]["group"] = json!("other.io"), "not_a_pod"),
            (|request| request["kind"]["version"] = json!("v2"), "not_a_pod"),
            (|request| request["subResource"] = json!("ephemeralcontainers"), "subresource"),
            (|request| request["operation"] = json!("UPDATE"), "not_a_creation"),
            (|request| request["operation"] = json!("DELETE"), "not_a_creation"),
            (|request| request["operation"] = json!("CONNECT"), "not_a_creation"),
            (|request| request["object"] = Value::Null, "no_object"),
        ];
        for (change, reason) in cases {
            let answer = answered(&asked(|asked| change(&mut asked["request"])));
            assert_eq!(answer["response"]["auditAnnotations"]["outcome"], reason);
            assert_eq!(answer["response"]["allowed"], true, "{reason}");
            assert!(answer["response"].get("patch").is_none(), "{reason}");
            assert!(answer["response"].get("patchType").is_none(), "{reason}");
        }
    }

    #[test]
    fn a_dry_run_gets_the_identical_patch() {
        let real = answered(&asked(|_| {}));
        for dry_run in [json!(true), json!(false), Value::Null] {
            let body = asked(|asked| asked["request"]["dryRun"] = dry_run.clone());
            assert_eq!(answered(&body), real);
            let answer = review(body.to_string().as_bytes(), &Config::default()).unwrap();
            assert_eq!(answer.dry_run, dry_run == json!(true));
        }
    }

    #[test]
    fn an_empty_subresource_is_none() {
        let answer = answered(&asked(|asked| asked["request"]["subResource"] = json!("")));
        assert_eq!(answer["response"]["auditAnnotations"]["outcome"], "injected");
    }

    #[test]
    fn answers_without_a_patch_after_the_deadline() {
        let body = asked(|_| {}).to_string();
        let answer = review_within(body.as_bytes(), &Config::default(), || false).unwrap();
        let answer = serde_json::to_value(answer.review()).unwrap();
        assert_eq!(answer["response"]["auditAnnotations"]["outcome"], "failed");
        assert_eq!((&answer["response"]["allowed"], answer["response"].get("patch")), (&json!(true), None));
        assert!(answer["response"]["warnings"][0].as_str().unwrap().contains("internal error"));
    }

    #[test]
    fn warnings_are_short_and_hold_no_control_characters() {
        let long = format!("redis-log-shipper.io/a\u{7}\n{}", "x".repeat(500));
        let annotations = json!({long: ""});
        let answer = answered(&asked(|asked| asked["request"]["object"]["metadata"]["annotations"] = annotations));
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert_eq!(warning.chars().count(), 256);
        assert!(!warning.chars().any(char::is_control));
    }

    #[test]
    fn the_audit_trail_says_the_same_in_both_rounds_and_in_keys_without_a_slash() {
        let first = answered(&asked(|_| {}));
        let pod = injected(&judged(&fixture("a-vanilla"))).clone();
        let second = answered(&asked(|asked| asked["request"]["object"] = pod));
        assert_eq!(first["response"]["auditAnnotations"], second["response"]["auditAnnotations"]);
        assert!(first["response"]["auditAnnotations"].as_object().unwrap().keys().all(|key| !key.contains('/')));
    }

    #[test]
    fn takes_the_namespace_of_the_request_where_the_pod_names_none() {
        let nameless = |namespace: &str| {
            answered(&asked(|asked| {
                asked["request"]["namespace"] = json!(namespace);
                let metadata = asked["request"]["object"]["metadata"].as_object_mut().unwrap();
                metadata.remove("namespace");
                metadata.remove("name");
            }))
        };
        assert_eq!(nameless("redis")["response"]["auditAnnotations"]["outcome"], "injected");
        let body = asked(|asked| _ = asked["request"]["object"]["metadata"].as_object_mut().unwrap().remove("name"));
        let answer = review(body.to_string().as_bytes(), &Config::default()).unwrap();
        assert_eq!((answer.name.as_str(), answer.namespace.as_deref()), ("rec-", Some("redis")));
        assert_eq!(nameless("kube-system")["response"]["auditAnnotations"]["outcome"], "reserved_namespace");
    }

    #[test]
    fn uses_the_namespace_of_the_request_and_not_the_pods_own() {
        let outcome = |request: &str, pod: &str| {
            let answer = answered(&asked(|asked| {
                asked["request"]["namespace"] = json!(request);
                asked["request"]["object"]["metadata"]["namespace"] = json!(pod);
            }));
            answer["response"]["auditAnnotations"]["outcome"].clone()
        };
        assert_eq!(outcome("kube-system", "redis"), "reserved_namespace");
        assert_eq!(outcome("redis", "kube-system"), "injected");
    }
}

mod shape {
    use super::*;

    #[test]
    fn accepts_lists_and_maps_that_are_absent_null_or_empty() {
        for place in ["volumes", "initContainers", "env", "annotations", "volumeMounts", "securityContext"] {
            for value in [None, Some(Value::Null), Some(json!([])), Some(json!({}))] {
                let pod = pod(|pod| {
                    let parent = match place {
                        "env" | "volumeMounts" | "securityContext" => &mut pod["spec"]["containers"][1],
                        "annotations" => &mut pod["metadata"],
                        _ => &mut pod["spec"],
                    };
                    let parent = parent.as_object_mut().unwrap();
                    match &value {
                        Some(value) => parent.insert(place.to_owned(), value.clone()),
                        None => parent.remove(place),
                    };
                });
                let judged = judged(&pod);
                assert_eq!(injected(&judged)["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected");
                sidecar(&judged);
            }
        }
    }

    #[test]
    fn adds_nothing_to_labels_of_any_shape() {
        for labels in [Value::Null, json!({}), json!([]), json!("x")] {
            assert_eq!(outcome(&pod(|pod| pod["metadata"]["labels"] = labels)), "not_redis_enterprise");
        }
    }

    #[test]
    fn keeps_keys_with_slashes_and_tildes_and_fields_it_does_not_know() {
        let pod = pod(|pod| {
            pod["metadata"]["annotations"] = json!({"a/b~c": "1", "~1": "2"});
            pod["spec"]["futureField"] = json!({"deep": [null, {"x": 1.5e300}]});
            pod["spec"]["containers"][0]["restartPolicyRules"] = json!([{"action": "Restart"}]);
        });
        let judged = judged(&pod);
        let after = injected(&judged);
        assert_eq!(after["spec"]["futureField"], pod["spec"]["futureField"]);
        assert_eq!(after["spec"]["containers"][0], pod["spec"]["containers"][0]);
        assert_eq!(after["metadata"]["annotations"]["a/b~c"], "1");
        assert_eq!(after["metadata"]["annotations"]["~1"], "2");
    }

    #[test]
    fn skips_mirror_pods_windows_pods_and_deleted_pods() {
        let mirror = json!({"kubernetes.io/config.mirror": "x"});
        assert_eq!(outcome(&annotated(&mirror)), "mirror_pod");
        assert_eq!(outcome(&pod(|pod| pod["spec"]["os"] = json!({"name": "windows"}))), "windows_pod");
        let selector = json!({"kubernetes.io/os": "windows"});
        assert_eq!(outcome(&pod(|pod| pod["spec"]["nodeSelector"] = selector)), "windows_pod");
        let deleted = pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-02-20T22:31:07Z"));
        assert_eq!(outcome(&deleted), "being_deleted");
    }

    #[test]
    fn never_injects_reserved_namespaces() {
        for namespace in ["default", "kube-system", "kube-public", "openshift-logging", "redis-log-shipper"] {
            let pod = pod(|pod| pod["metadata"]["namespace"] = json!(namespace));
            assert_eq!(outcome(&pod), "reserved_namespace", "{namespace}");
        }
        for namespace in ["defaults", "kubernetes", "openshifts", "redis-log-shipper-2"] {
            let pod = pod(|pod| pod["metadata"]["namespace"] = json!(namespace));
            assert_eq!(outcome(&pod), "injected", "{namespace}");
        }
    }
}

mod collisions {
    use super::*;

    #[test]
    fn does_nothing_to_a_pod_it_has_injected_already() {
        assert_eq!(outcome(injected(&judged(&fixture("b-openshift")))), "already_injected");
    }

    #[test]
    fn leaves_the_sidecar_of_another_configuration_alone_and_says_so() {
        let pod = injected(&judged(&fixture("a-vanilla"))).clone();
        let other = Config { image: "other:2".to_owned(), ..Config::default() };
        let judged = judge(&pod, None, &other);
        assert_eq!(judged.verdict.outcome(), "drift");
        assert_warned(&judged, "drift");
    }

    #[test]
    fn keeps_a_foreign_container_of_that_name() {
        for list in ["containers", "initContainers"] {
            let pod = pod(|pod| {
                let containers = pod["spec"].as_object_mut().unwrap().entry(list).or_insert(json!([]));
                containers.as_array_mut().unwrap().push(json!({"name": "log-shipper", "image": "theirs"}));
            });
            let judged = judged(&pod);
            assert_eq!(judged.verdict.outcome(), "name_taken");
            assert_warned(&judged, "rename that container");
        }
    }

    #[test]
    fn recognises_our_container_only_with_both_annotations() {
        let ours = injected(&judged(&fixture("a-vanilla"))).clone();
        for annotation in ["redis-log-shipper.io/status", "redis-log-shipper.io/hash"] {
            let mut pod = ours.clone();
            pod["metadata"]["annotations"].as_object_mut().unwrap().remove(annotation);
            assert_eq!(outcome(&pod), "name_taken", "without {annotation}");
        }
    }

    #[test]
    fn copied_annotations_alone_do_not_keep_the_sidecar_away() {
        let copied =
            json!({"redis-log-shipper.io/status": "injected", "redis-log-shipper.io/hash": "0123456789abcdef"});
        sidecar(&judged(&annotated(&copied)));
    }

    #[test]
    fn uses_a_volume_of_its_name_only_if_it_is_the_same() {
        let ours = token_volume(&judged(&fixture("a-vanilla"))).clone();
        for (volume, expected, more) in [
            (ours, "log-shipper-token", 1),
            (json!({"name": "log-shipper-token", "emptyDir": {}}), "log-shipper-token-2", 2),
        ] {
            let pod = pod(|pod| pod["spec"]["volumes"].as_array_mut().unwrap().push(volume));
            let judged = judged(&pod);
            assert_eq!(sidecar(&judged)["volumeMounts"][1]["name"], expected);
            let count = |pod: &Value| pod["spec"]["volumes"].as_array().unwrap().len();
            assert_eq!(count(injected(&judged)), count(&pod) + more);
            assert_eq!(outcome(injected(&judged)), "already_injected");
        }
    }

    #[test]
    fn does_not_mount_a_volume_that_lies_over_its_own_directories() {
        for path in ["/", "/var", "/var/"] {
            let pod = pod(|pod| {
                let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["mountPath"] != "/var/opt/redislabs/log");
                mounts.push(json!({"name": "redis-enterprise-storage", "mountPath": path}));
            });
            let judged = judged(&pod);
            assert_eq!(judged.verdict.outcome(), "log_mount_too_wide", "{path}");
            assert_warned(&judged, "mount the volume at /var/opt/redislabs/log itself");
        }
        for (log_dir, path) in [
            ("/var/lib/redislabs/log", "/var/lib"),
            ("/var/lib/redis-log-shipper-fallback/log", "/var/lib/redis-log-shipper-fallback"),
            ("/run/x/log", "/run"),
            ("/var/run/secrets/log", "/var/run/secrets"),
            ("/var/run/secrets/kubernetes.io/serviceaccount", "/var/run/secrets/kubernetes.io/serviceaccount"),
        ] {
            let mut config = Config::default();
            log_dir.clone_into(&mut config.matching.log_dir);
            let pod = pod(|pod| {
                let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["name"] == "redis-enterprise-storage");
                mounts.push(json!({"name": "redis-enterprise-storage", "mountPath": path}));
            });
            let expected = if path == "/run" { "injected" } else { "log_mount_too_wide" };
            assert_eq!(judge(&pod, None, &config).verdict.outcome(), expected, "{path}");
        }
    }

    #[test]
    fn gives_the_same_result_before_and_after_other_webhooks() {
        let istio = |pod: &mut Value| {
            let spec = &mut pod["spec"];
            spec["containers"].as_array_mut().unwrap().insert(1, json!({"name": "istio-proxy", "image": "proxyv2"}));
            spec["volumes"].as_array_mut().unwrap().insert(0, json!({"name": "istio-envoy", "emptyDir": {}}));
            let init = spec.as_object_mut().unwrap().entry("initContainers").or_insert(json!([]));
            init.as_array_mut().unwrap().insert(0, json!({"name": "istio-init", "image": "proxyv2"}));
            pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{}");
        };
        let before = pod(istio);
        let mut after = injected(&judged(&fixture("a-vanilla"))).clone();
        istio(&mut after);
        assert_eq!(outcome(&after), "already_injected");
        let first = judged(&before);
        let ours = after["spec"]["containers"].as_array().unwrap();
        assert_eq!(Some(sidecar(&first)), ours.iter().find(|container| container["name"] == "log-shipper"));
    }

    #[test]
    fn keeps_the_order_of_init_containers() {
        let pod = fixture("a3-vanilla-readonly-rootfs");
        assert_eq!(injected(&judged(&pod))["spec"]["initContainers"], pod["spec"]["initContainers"]);
        let native = Config { sidecar_mode: SidecarMode::Native, ..Config::default() };
        let judged = judge(&pod, None, &native);
        let names: Vec<_> = injected(&judged)["spec"]["initContainers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["init-rootfs", "log-shipper"]);
    }
}

mod workload {
    use super::*;

    #[test]
    fn has_no_probe_and_no_hook_that_could_hold_the_pod_up() {
        let judged = judged(&fixture("a-vanilla"));
        for field in ["readinessProbe", "livenessProbe", "startupProbe", "lifecycle", "ports", "restartPolicy"] {
            assert!(sidecar(&judged).get(field).is_none(), "{field}");
        }
    }

    #[test]
    fn restarts_always_only_as_a_native_sidecar() {
        for (mode, known, native) in [
            (SidecarMode::Container, Some(true), false),
            (SidecarMode::Native, None, true),
            (SidecarMode::Native, Some(true), true),
            // An older API server would treat it as an init container that never ends.
            (SidecarMode::Native, Some(false), false),
            (SidecarMode::Auto, None, false),
            (SidecarMode::Auto, Some(false), false),
            (SidecarMode::Auto, Some(true), true),
        ] {
            let config = Config { sidecar_mode: mode, ..Config::default() };
            let surroundings = Surroundings { native_sidecars: known, ..Surroundings::default() };
            let judged = judge_among(&fixture("a-vanilla"), None, &config, &surroundings);
            assert_eq!(sidecar(&judged).get("restartPolicy").is_some(), native, "{mode:?}");
            assert_eq!(injected(&judged)["spec"].get("initContainers").is_some(), native, "{mode:?}");
            // The risk of a native sidecar is a warning.
            let told = native || mode == SidecarMode::Native;
            assert_eq!(judged.warnings.len(), usize::from(told), "{mode:?}");
            if native {
                assert_warned(&judged, "Redis does not start either");
            }
        }
    }

    #[test]
    fn listens_nowhere_on_the_network_of_the_host() {
        let judged = judged(&pod(|pod| pod["spec"]["hostNetwork"] = json!(true)));
        assert_eq!(arg(&judged, "--listen"), None);
        assert_warned(&judged, "host network");
    }

    #[test]
    fn changes_nothing_at_the_pods_level() {
        for fixture_name in ["a-vanilla", "b-openshift", "d-openshift-existing-alloy"] {
            let pod = fixture(fixture_name);
            let judged = judged(&pod);
            let after = injected(&judged);
            for (key, value) in pod["spec"].as_object().unwrap() {
                if key != "containers" && key != "volumes" {
                    assert_eq!(&after["spec"][key], value, "{key}");
                }
            }
            assert_eq!(after["metadata"]["labels"], pod["metadata"]["labels"]);
            let (before, after) =
                (pod["spec"]["containers"].as_array().unwrap(), after["spec"]["containers"].as_array().unwrap());
            assert_eq!(&after[..before.len()], before.as_slice());
        }
    }

    #[test]
    fn brings_its_own_token_whether_or_not_the_pod_mounts_one() {
        for (automount, mounts) in [(Value::Null, 5), (json!(true), 5), (json!(false), 4)] {
            let judged = judged(&pod(|pod| pod["spec"]["automountServiceAccountToken"] = automount));
            assert_eq!(arg(&judged, "--token-file"), Some("/var/run/secrets/redis-log-shipper/token"));
            let all = sidecar(&judged)["volumeMounts"].as_array().unwrap();
            assert_eq!(all.len(), mounts);
            // The API server mounts another token at a path without a mount.
            let ours = json!({
                "name": "log-shipper-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true,
            });
            assert!(all.get(4).is_none_or(|mount| *mount == ours));
        }
    }

    #[test]
    fn raises_a_token_lifetime_that_is_too_short() {
        let mut config = Config::default();
        config.token.expiration_seconds = 60;
        let judged = judge(&fixture("a-vanilla"), None, &config);
        let token = &token_volume(&judged)["projected"]["sources"][0];
        assert_eq!(token["serviceAccountToken"], json!({"expirationSeconds": 600, "path": "token"}));
        assert_warned(&judged, "600");
    }

    #[test]
    fn sets_an_audience_only_if_one_is_configured() {
        let mut config = Config::default();
        config.token.audience = Some("loki".to_owned());
        let judged = judge(&fixture("a-vanilla"), None, &config);
        let token = &token_volume(&judged)["projected"]["sources"][0];
        assert_eq!(token["serviceAccountToken"]["audience"], "loki");
    }

    #[test]
    fn every_ca_and_the_runtime_configuration_may_be_missing_and_no_secret_is_mounted() {
        let judged = judged(&fixture("a-vanilla"));
        let volume = token_volume(&judged);
        let sources = volume["projected"]["sources"].as_array().unwrap();
        let maps: Vec<_> = sources.iter().filter_map(|source| source.get("configMap")).collect();
        assert_eq!(maps.len(), 3);
        assert!(maps.iter().all(|map| map["optional"] == true));
        assert!(!volume.to_string().contains("secret\""));
    }

    #[test]
    fn reads_no_runtime_configuration_if_that_is_configured() {
        let config = Config { runtime_config: None, ..Config::default() };
        let judged = judge(&fixture("a-vanilla"), None, &config);
        assert!(!format!("{:?}", token_volume(&judged)).contains("shipper.yaml"));
        assert!(!sidecar(&judged).to_string().contains("RUNTIME_CONFIG"));
    }

    #[test]
    fn mirrors_the_log_mount_read_only_and_without_propagation() {
        let pod = pod(|pod| {
            let mount = &mut pod["spec"]["containers"][0]["volumeMounts"][1];
            mount["mountPropagation"] = json!("Bidirectional");
            mount["recursiveReadOnly"] = json!("Disabled");
        });
        let judged = judged(&pod);
        let expected = json!({
            "name": "redis-enterprise-storage", "mountPath": "/var/opt/redislabs/log", "subPath": "logs", "readOnly": true,
        });
        assert_eq!(sidecar(&judged)["volumeMounts"][0], expected);
    }

    #[test]
    fn copies_a_sub_path_expression_and_its_variables_under_our_own_names() {
        let setting = "REDIS_LOG_SHIPPER_ALLOW_PLAINTEXT_TOKEN";
        let pod = pod(|pod| {
            let container = &mut pod["spec"]["containers"][0];
            container["env"].as_array_mut().unwrap().push(json!({"name": setting, "value": "true"}));
            let mount = container["volumeMounts"][1].as_object_mut().unwrap();
            mount.remove("subPath");
            mount.insert("subPathExpr".to_owned(), json!(format!("$(MY_POD_NAME)/$({setting})/logs")));
        });
        let judged = judged(&pod);
        let container = sidecar(&judged);
        let expected = "$(LOG_SHIPPER_SUB_PATH_1)/$(LOG_SHIPPER_SUB_PATH_2)/logs";
        assert_eq!(container["volumeMounts"][0]["subPathExpr"], expected);
        let env = container["env"].as_array().unwrap();
        assert_eq!(env.last().unwrap(), &json!({"name": "LOG_SHIPPER_SUB_PATH_2", "value": "true"}));
        for (variable, name) in env.iter().filter_map(|variable| Some((variable, variable["name"].as_str()?))) {
            let ours = ["REDIS_LOG_SHIPPER_STATE_FALLBACK_DIR", "REDIS_LOG_SHIPPER_RUNTIME_CONFIG"];
            assert!(name.starts_with("LOG_SHIPPER_") || ours.contains(&name), "{variable}");
        }
        // Pods that share one claim do not share their positions.
        assert_eq!(container["volumeMounts"][2]["subPathExpr"], "log-shipper-state/$(LOG_SHIPPER_POD_NAME)");
    }

    #[test]
    fn skips_a_pod_whose_sub_path_expression_cannot_be_copied() {
        let judged = judged(&pod(|pod| {
            let container = &mut pod["spec"]["containers"][0];
            container["envFrom"] = json!([{"configMapRef": {"name": "theirs"}}]);
            let mount = container["volumeMounts"][1].as_object_mut().unwrap();
            mount.remove("subPath");
            mount.insert("subPathExpr".to_owned(), json!("$(MY_POD_NAME)/$(FROM_SOMEWHERE)"));
        }));
        assert_eq!(judged.verdict.outcome(), "log_mount_unclear");
        assert_warned(&judged, "not in the env of container redis-enterprise-node");
    }

    #[test]
    fn says_which_mount_is_missing() {
        let judged = judged(&fixture("c-ephemeral"));
        assert_eq!(judged.verdict.outcome(), "no_log_mount");
        assert_warned(&judged, "no volume mounted at /var/opt/redislabs/log");
    }

    #[test]
    fn takes_the_nearest_mount_above_the_log_directory() {
        let pod = pod(|pod| {
            let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
            mounts[0]["mountPath"] = json!("/var/opt");
            mounts[1]["mountPath"] = json!("/var/opt/redislabs/");
            // The path has the same prefix, but is another directory.
            mounts[2]["mountPath"] = json!("/var/opt/redislabs/lo");
        });
        assert_eq!(sidecar(&judged(&pod))["volumeMounts"][0]["mountPath"], "/var/opt/redislabs/");
    }

    #[test]
    fn finds_the_mount_that_covers_the_log_directory() {
        // Trailing slashes do not make a path longer, and a mount without a volume does not count.
        let pod = pod(|pod| {
            let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
            mounts[0]["mountPath"] = json!("/var/opt///////////////////////");
            mounts.push(json!({"mountPath": "/var/opt/redislabs/log/."}));
        });
        assert_eq!(sidecar(&judged(&pod))["volumeMounts"][0]["mountPath"], "/var/opt/redislabs/log");
    }

    #[test]
    fn keeps_positions_on_the_claim_or_in_an_empty_dir() {
        let state = |judged: &Judged| sidecar(judged)["volumeMounts"][2].clone();
        let claim = json!({"name": "redis-enterprise-storage", "mountPath": "/var/lib/redis-log-shipper", "subPath": "log-shipper-state"});
        assert_eq!(state(&judged(&fixture("a-vanilla"))), claim);
        let empty = json!({"name": "log-shipper-state", "mountPath": "/var/lib/redis-log-shipper"});
        assert_eq!(state(&judged(&fixture("c2-ephemeral-emptydir"))), empty);
        let config = Config { state: State::Ephemeral, ..Config::default() };
        assert_eq!(state(&judge(&fixture("a-vanilla"), None, &config)), empty);
    }

    #[test]
    fn keeps_an_empty_dir_beside_the_claim_for_a_folder_that_cannot_be_written() {
        const DIR: &str = "/var/lib/redis-log-shipper-fallback";
        let fallback = |judged: &Judged| {
            let (env, mounts) = (&sidecar(judged)["env"], sidecar(judged)["volumeMounts"].as_array().unwrap());
            let told = env.as_array().unwrap().iter().find(|it| it["name"] == "REDIS_LOG_SHIPPER_STATE_FALLBACK_DIR");
            let mounted = mounts.iter().find(|mount| mount["mountPath"] == DIR);
            (told.map(|it| it["value"].clone()), mounted.map(|mount| mount["name"].clone()))
        };
        let judged = judged(&fixture("a-vanilla"));
        assert_eq!(fallback(&judged), (Some(json!(DIR)), Some(json!("log-shipper-state"))));
        let volumes = injected(&judged)["spec"]["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == "log-shipper-state").unwrap();
        assert!(volume.get("emptyDir").is_some(), "{volume}");
        assert_eq!(fallback(&super::judged(&fixture("c2-ephemeral-emptydir"))), (None, None));
    }

    #[test]
    fn adds_the_pull_secrets_that_the_pod_does_not_name_itself() {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let config =
            Config { image_pull_secrets: ["a", "b", "a"].map(ToOwned::to_owned).to_vec(), ..Config::default() };
        let own = [
            None,
            Some(Value::Null),
            Some(json!([])),
            Some(json!(named(&["b", "c"]))),
            Some(json!(named(&["b", "a"]))),
        ];
        let expected = [&["a", "b"][..], &["a", "b"], &["a", "b"], &["b", "c", "a"], &["b", "a"]];
        let recorded = [Some("a,b"), Some("a,b"), Some("a,b"), Some("a"), None];
        for ((own, expected), recorded) in own.into_iter().zip(expected).zip(recorded) {
            let pod = pod(|pod| {
                let spec = pod["spec"].as_object_mut().unwrap();
                spec.remove("imagePullSecrets");
                spec.extend(own.clone().map(|own| ("imagePullSecrets".to_owned(), own)));
            });
            let judged = judge(&pod, None, &config);
            let after = injected(&judged);
            assert_eq!(after["spec"]["imagePullSecrets"], json!(named(expected)), "{own:?}");
            let annotation = &after["metadata"]["annotations"]["redis-log-shipper.io/pull-secrets"];
            assert_eq!(annotation.as_str(), recorded, "{own:?}");
            assert!(judged.warnings.is_empty(), "{:?}", judged.warnings);
            let again = judge(after, None, &config);
            assert_eq!((again.verdict.outcome(), again.warnings.len()), ("already_injected", 0));
        }
    }

    #[test]
    fn requests_equal_limits() {
        let judged = judged(&fixture("a-vanilla"));
        assert_eq!(
            sidecar(&judged)["resources"],
            json!({
                "limits": {"cpu": "100m", "memory": "64Mi"},
                "requests": {"cpu": "100m", "memory": "64Mi"},
            })
        );
    }

    #[test]
    fn never_overflows_the_budget_of_the_pod_as_a_whole() {
        // The two containers take 2100m and 4224Mi.
        for (cpu, memory, expected) in [
            ("3", "5Gi", json!({"cpu": "100m", "memory": "64Mi"})),
            ("2200m", "4288Mi", json!({"cpu": "100m", "memory": "64Mi"})),
            ("2100m", "5Gi", json!({"memory": "64Mi"})),
            ("3", "4225Mi", json!({"cpu": "100m"})),
        ] {
            let budget = json!({"cpu": cpu, "memory": memory});
            // A limit without a request is also the request.
            for (of_pod, of_container) in [("requests", "requests"), ("limits", "requests"), ("requests", "limits")] {
                let judged = judged(&pod(|pod| {
                    pod["spec"]["resources"] = json!({of_pod: budget});
                    let resources = &mut pod["spec"]["containers"][0]["resources"];
                    *resources = json!({of_container: resources["limits"]});
                }));
                assert_eq!(sidecar(&judged)["resources"]["requests"], expected, "{of_pod} {of_container}");
                assert_eq!(judged.warnings.len(), 2 - expected.as_object().unwrap().len());
            }
        }
    }

    #[test]
    fn copies_the_user_of_the_node_container_if_it_sets_one() {
        let plain = judged(&fixture("a-vanilla"));
        assert!(sidecar(&plain)["securityContext"].get("runAsUser").is_none());
        let own = judged(&pod(|pod| {
            pod["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(1001);
            pod["spec"]["containers"][0]["securityContext"]["runAsGroup"] = json!(1002);
        }));
        assert_eq!(sidecar(&own)["securityContext"]["runAsUser"], 1001);
        assert_eq!(sidecar(&own)["securityContext"]["runAsGroup"], 1002);
        for field in ["fsGroup", "seLinuxOptions", "supplementalGroups"] {
            assert!(sidecar(&own)["securityContext"].get(field).is_none());
        }
    }

    #[test]
    fn may_be_root_only_where_the_pod_is() {
        let root = json!({"runAsUser": 0});
        let of_pod = judged(&pod(|pod| pod["spec"]["securityContext"] = root.clone()));
        let of_container = judged(&pod(|pod| pod["spec"]["containers"][0]["securityContext"] = root.clone()));
        let of_pod_only = judged(&pod(|pod| {
            pod["spec"]["securityContext"] = root.clone();
            pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 1001});
        }));
        for (judged, must_not) in [(of_pod, Value::Null), (of_container, Value::Null), (of_pod_only, json!(true))] {
            assert_eq!(sidecar(&judged)["securityContext"]["runAsNonRoot"], must_not);
        }
    }

    #[test]
    fn names_other_containers_that_read_the_logs() {
        assert_warned(&judged(&fixture("d-openshift-existing-alloy")), "container alloy also mounts the log directory");
        let other_volume = judged(&pod(|pod| {
            let mounts = json!([{"name": "other", "mountPath": "/var/opt/redislabs/log"}]);
            pod["spec"]["containers"][1]["volumeMounts"] = mounts;
        }));
        assert!(other_volume.warnings.is_empty(), "{:?}", other_volume.warnings);
    }
}

mod overrides {
    use super::*;

    fn with(key: &str, value: &str) -> Judged {
        judged(&annotated(&json!({ (format!("redis-log-shipper.io/{key}")): value })))
    }

    #[test]
    fn take_effect() {
        assert_eq!(arg(&with("include", "dmcproxy.log, event_log.log"), "--include"), Some("dmcproxy.log"));
        assert_eq!(arg(&with("exclude", "envoy*"), "--exclude"), Some("envoy*"));
        assert_eq!(arg(&with("log-level", "debug"), "--log-level"), Some("debug"));
        assert_eq!(arg(&with("timezone", "Europe/Berlin"), "--timezone"), Some("Europe/Berlin"));
        assert!(arg(&with("tenant", "audit"), "--loki-url").unwrap().contains("/v1/audit/loki/"));
        assert_eq!(sidecar(&with("cpu", "1e-1"))["resources"]["limits"]["cpu"], "1e-1");
        assert_eq!(sidecar(&with("cpu", " 2\n"))["resources"]["limits"]["cpu"], "2");
        assert_eq!(sidecar(&with("memory", "1Gi"))["resources"]["requests"]["memory"], "1Gi");
        assert_eq!(sidecar(&with("sidecar-mode", "native"))["restartPolicy"], "Always");
        assert_eq!(arg(&with("drain-timeout", "500ms"), "--drain-timeout"), Some("500ms"));
        assert_eq!(arg(&judged(&fixture("a-vanilla")), "--drain-timeout"), None);
        assert_eq!(sidecar(&with("state", "ephemeral"))["volumeMounts"][2]["name"], "log-shipper-state");
        let multiline = json!({"name": "REDIS_LOG_SHIPPER_MULTILINE", "value": "off"});
        assert_eq!(sidecar(&with("multiline", "off"))["env"].as_array().unwrap().last(), Some(&multiline));
        let redact = json!({"name": "REDIS_LOG_SHIPPER_REDACT", "value": "off"});
        assert_eq!(sidecar(&with("redact", "off"))["env"].as_array().unwrap().last(), Some(&redact));
        // A dollar sign stands for itself, and each rule has its line.
        let rules = json!({"name": "REDIS_LOG_SHIPPER_REDACT_PATTERN", "value": "end=x$$\ncard=[0-9]{16}"});
        let judged = with("redact-patterns", " end=x$\n\ncard=[0-9]{16}\n");
        assert_eq!(sidecar(&judged)["env"].as_array().unwrap().last(), Some(&rules));
        let drop = json!({"name": "REDIS_LOG_SHIPPER_DROP", "value": "level=debug\ndmcproxy*:pattern=end$$"});
        let judged = with("drop", "level=debug\n dmcproxy*:pattern=end$\n");
        assert_eq!(sidecar(&judged)["env"].as_array().unwrap().last(), Some(&drop));
    }

    #[test]
    fn that_are_invalid_are_ignored_with_a_warning() {
        let default = judged(&fixture("a-vanilla"));
        for (key, value) in [
            ("cpu", "-1"),
            ("cpu", "0"),
            ("cpu", "lots"),
            ("memory", ""),
            ("memory", "1.5.2Gi"),
            ("log-level", "loud"),
            ("timezone", "a b"),
            ("tenant", "a/b"),
            ("include", " , "),
            ("sidecar-mode", "both"),
            ("state", "forever"),
            ("loki-url", "loki:3100"),
            ("image", "a b"),
            ("include", "[a"),
            ("exclude", "{a,b}.log"),
            ("timezone", "Europe/Berln"),
            ("multiline", "sometimes"),
            ("redact", "perhaps"),
            ("redact-patterns", "card=("),
            ("drop", "debug"),
            ("drop", "level=debug\nlevel=loud"),
            ("drain-timeout", "11m"),
            ("drain-timeout", "soon"),
        ] {
            let judged = with(key, value);
            assert_warned(&judged, &format!("annotation redis-log-shipper.io/{key}: "));
            assert_eq!(sidecar(&judged), sidecar(&default), "{key}={value}");
        }
    }

    #[test]
    fn that_are_unknown_get_a_warning_with_the_nearest_name() {
        assert_warned(&with("tennant", "x"), "did you mean redis-log-shipper.io/tenant?");
        assert_warned(&with("something-else-entirely", "x"), "tenant, loki-url, image");
    }

    #[test]
    fn of_image_and_url_must_be_on_the_list() {
        for (key, value) in [("image", "evil/shipper:1"), ("loki-url", "https://evil/loki/api/v1/push")] {
            let judged = with(key, value);
            assert_warned(&judged, "is not allowed by the webhook's");
            assert!(!sidecar(&judged).to_string().contains("evil"));
        }
        let config = Config {
            allowed_images: vec!["mine/shipper:*".to_owned()],
            allowed_loki_urls: vec!["https://other/loki/api/v1/push".to_owned()],
            ..Config::default()
        };
        let annotations = json!({
            "redis-log-shipper.io/image": "mine/shipper:2",
            "redis-log-shipper.io/loki-url": "https://other/loki/api/v1/push",
        });
        let judged = judge(&annotated(&annotations), None, &config);
        assert_eq!(sidecar(&judged)["image"], "mine/shipper:2");
        assert_eq!(arg(&judged, "--loki-url"), Some("https://other/loki/api/v1/push"));
        assert!(judged.warnings.is_empty(), "{:?}", judged.warnings);
    }

    #[test]
    fn opt_out_or_get_a_warning_if_invalid() {
        for (value, expected) in [
            ("false", "opted_out"),
            ("False", "opted_out"),
            ("disabled", "opted_out"),
            ("true", "injected"),
            ("enabled", "injected"),
            ("nope", "invalid_opt_in"),
            ("", "invalid_opt_in"),
        ] {
            assert_eq!(with("inject", value).verdict.outcome(), expected, "{value:?}");
        }
        assert_warned(&with("inject", "nope"), "expected \"true\" or \"false\"");
    }

    #[test]
    fn with_references_to_variables_stay_literal() {
        for key in ["include", "exclude"] {
            assert_eq!(arg(&with(key, "a$b,$(LOG_SHIPPER_POD_NAME)"), &format!("--{key}")), Some("a$$b"));
            let second = format!("--{key}=$$(LOG_SHIPPER_POD_NAME)");
            let judged = with(key, "a$b,$(LOG_SHIPPER_POD_NAME)");
            assert!(sidecar(&judged)["args"].as_array().unwrap().contains(&json!(second)));
        }
        let config = Config { allowed_loki_urls: vec!["https://loki/*".to_owned()], ..Config::default() };
        let annotations = json!({"redis-log-shipper.io/loki-url": "https://loki/$(LOG_SHIPPER_POD_NAME)/push"});
        let judged = judge(&annotated(&annotations), None, &config);
        assert_eq!(arg(&judged, "--loki-url"), Some("https://loki/$$(LOG_SHIPPER_POD_NAME)/push"));
    }

    #[test]
    fn labels_come_from_values_and_from_the_pod() {
        let config = Config {
            labels: vec![("team".to_owned(), "core".to_owned())],
            labels_from: vec![("owner".to_owned(), "metadata.labels['owner']".to_owned())],
            ..Config::default()
        };
        let judged = judge(&fixture("a-vanilla"), None, &config);
        let args = sidecar(&judged)["args"].to_string();
        assert!(
            args.contains("--label=team=core") && args.contains("--label=owner=$(LOG_SHIPPER_LABEL_owner)"),
            "{args}"
        );
        let env = sidecar(&judged)["env"].as_array().unwrap();
        let owner = env.iter().find(|variable| variable["name"] == "LOG_SHIPPER_LABEL_owner").unwrap();
        assert_eq!(owner["valueFrom"]["fieldRef"]["fieldPath"], "metadata.labels['owner']");
    }
}
