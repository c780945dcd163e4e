//! The offline commands: input, output on each stream, and exit codes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use redis_log_webhook::config::{Config, SidecarMode, State};
use redis_log_webhook::offline::documents::{parse, to_yaml};
use redis_log_webhook::offline::inject::inject;
use redis_log_webhook::offline::render::{self, Change};
use redis_log_webhook::offline::uninject::uninject;
use serde_json::{Value, json};

/// The result of a command.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redis-log-webhook"))
        .args(args)
        .current_dir(dir())
        .env_remove("REDIS_LOG_WEBHOOK_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command with invalid arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offline")
}

fn fixture(name: &str) -> Value {
    let path = dir().join(format!("../golden/{name}.pod.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn golden_pods() -> Vec<Value> {
    let paths = std::fs::read_dir(dir().join("../golden")).unwrap().map(|entry| entry.unwrap().path());
    let pods = paths.filter(|path| path.to_string_lossy().ends_with(".pod.yaml"));
    pods.map(|path| serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

fn template(pod: &Value) -> Value {
    json!({"metadata": pod["metadata"], "spec": pod["spec"]})
}

/// `pod` in every object that can contain one, with the pointer to it.
fn holders(pod: &Value) -> Vec<(Value, &'static str)> {
    let workload = |api: &str, kind: &str| {
        let metadata = json!({"name": "rec", "namespace": "redis"});
        json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": {"template": template(pod)}})
    };
    let review = |version: &str| {
        json!({
            "apiVersion": format!("admission.k8s.io/{version}"),
            "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": "CREATE", "namespace": "redis",
                "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod,
            },
        })
    };
    let mut holders: Vec<_> = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]
        .into_iter()
        .map(|kind| (workload("apps/v1", kind), "/spec/template"))
        .collect();
    holders.push((pod.clone(), ""));
    holders.push((workload("batch/v1", "Job"), "/spec/template"));
    holders.push((
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "rec"},
            "spec": {"jobTemplate": {"spec": {"template": template(pod)}}},
        }),
        "/spec/jobTemplate/spec/template",
    ));
    holders.push((json!({"apiVersion": "v1", "kind": "PodTemplate", "template": template(pod)}), "/template"));
    holders.push((json!({"apiVersion": "v1", "kind": "List", "items": [pod]}), "/items/0"));
    holders.push((json!({"apiVersion": "v1", "kind": "PodList", "items": [template(pod)]}), "/items/0"));
    holders.push((review("v1"), "/request/object"));
    holders.push((review("v1beta1"), "/request/object"));
    holders
}

fn sidecar(pod: &Value) -> Option<&Value> {
    let lists = ["containers", "initContainers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().find(|container| container["name"] == "log-shipper")
}

fn cluster(spec: &Value) -> Value {
    let metadata = json!({"name": "rec", "namespace": "redis"});
    json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": metadata, "spec": spec})
}

/// The object that `inject` prints, and its messages.
fn injected(object: &Value) -> (Value, Ran) {
    let ran = run(&["inject", "-o", "json"], &object.to_string());
    (serde_json::from_str(&ran.out).unwrap(), ran)
}

#[test]
fn every_input_has_its_expected_output() {
    let mut faults = Vec::new();
    for (golden, code, args) in [
        ("rec.injected.yaml", 0, ["inject", "-f", "rec.yaml", "-o", "yaml"]),
        ("rec.diff", 0, ["inject", "-f", "rec.yaml", "-o", "diff"]),
        ("mixed.injected.yaml", 0, ["inject", "-f", "mixed.yaml", "-o", "yaml"]),
        ("explain.txt", 1, ["explain", "-f", "explain.yaml", "-o", "text"]),
        ("explain.json", 1, ["explain", "-f", "explain.yaml", "-o", "json"]),
    ] {
        let ran = run(&[args.as_slice(), &["--config", "config.yaml"]].concat(), "");
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        let path = dir().join(golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, ran.out).unwrap();
        } else if std::fs::read_to_string(path).ok() != Some(ran.out) {
            faults.push(golden);
        }
    }
    assert!(faults.is_empty(), "not as written down: {faults:?}; UPDATE_GOLDEN=1 writes them anew");
}

mod inject_command {
    use super::*;

    #[test]
    fn finds_the_pod_in_every_kind_of_object() {
        for (object, pointer) in holders(&fixture("a-vanilla")) {
            let (after, ran) = injected(&object);
            assert_eq!(ran.code, 0, "{}: {}", object["kind"], ran.err);
            assert!(sidecar(after.pointer(pointer).unwrap()).is_some(), "{}", object["kind"]);
        }
    }

    #[test]
    fn leaves_documents_without_pods_byte_for_byte_as_they_were() {
        let ran = run(&["inject", "-f", "mixed.yaml"], "");
        let before = std::fs::read_to_string(dir().join("mixed.yaml")).unwrap();
        let (first, rest) = before.split_once("---\n# The nodes.").unwrap();
        let last = rest.rsplit_once("---\n").unwrap().1;
        assert!(ran.out.starts_with(first), "{}", ran.out);
        assert!(ran.out.ends_with(&format!("---\n{last}")), "{}", ran.out);
    }

    #[test]
    fn says_which_documents_lose_their_comments() {
        let ran = run(&["inject", "-f", "mixed.yaml"], "");
        assert!(ran.err.contains("warning: comments are lost in statefulset/rec (mixed.yaml)"), "{}", ran.err);
        assert!(ran.out.contains("# The nodes.\n"), "{}", ran.out);
        // The only comment of this document precedes its content, so it stays.
        let ran = run(&["inject", "-f", "rec.yaml"], "");
        assert!(!ran.err.contains("comments"), "{}", ran.err);
        // A # in a string is not a comment.
        let pod =
            to_yaml(&fixture("a-vanilla")).unwrap().replace("value: rec.redis.svc.cluster.local", "value: 'a #b'");
        assert!(!run(&["inject"], &pod).err.contains("comments"));
    }

    #[test]
    fn separates_the_documents_of_several_files_and_of_json_in_a_row() {
        let pod = fixture("a-vanilla").to_string();
        let ran = run(&["inject", "-f", "rec.yaml", "-f", "-"], &format!("{pod}{pod}"));
        assert_eq!((ran.code, parse("out", &ran.out).unwrap().len()), (0, 3), "{}", ran.err);
        let ran = run(&["inject", "-o", "json"], &format!("---\n{pod}\n---\n# no more\n"));
        assert!(sidecar(&serde_json::from_str(&ran.out).unwrap()).is_some());
    }

    #[test]
    fn patches_what_it_prints_the_patch_for() {
        for (object, pointer) in holders(&fixture("a-vanilla")) {
            let ran = run(&["inject", "-o", "patch"], &object.to_string());
            let patch: json_patch::Patch = serde_json::from_str(&ran.out).unwrap();
            let mut patched = object.clone();
            // The patch for a review is relative to the object in it.
            let at = if pointer == "/request/object" { pointer } else { "" };
            json_patch::patch(patched.pointer_mut(at).unwrap(), &patch).unwrap();
            assert_eq!(patched, injected(&object).0);
        }
    }

    #[test]
    fn answers_a_review_as_the_webhook_does() {
        for (review, _) in holders(&fixture("a-vanilla")).into_iter().filter(|(_, at)| *at == "/request/object") {
            let ran = run(&["inject", "-o", "review"], &review.to_string());
            let answer: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(answer["apiVersion"], review["apiVersion"]);
            assert_eq!(answer["response"]["uid"], "u-1");
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
        }
    }

    #[test]
    fn adds_pull_secrets_with_a_warning_about_the_service_account_and_uninject_removes_only_those() {
        let config = Config { image_pull_secrets: vec!["ours".to_owned(), "both".to_owned()], ..Config::default() };
        for own in [None, Some(json!([{"name": "both"}, {"name": "theirs"}]))] {
            let mut pod = fixture("a-vanilla");
            let spec = pod["spec"].as_object_mut().unwrap();
            spec.remove("imagePullSecrets");
            spec.extend(own.clone().map(|own| ("imagePullSecrets".to_owned(), own)));
            let outcome = inject(&pod, None, &config).unwrap();
            let told =
                outcome.pods[0].judged.warnings.iter().any(|warning| warning.contains("the pod's ServiceAccount"));
            assert_eq!(told, own.is_none(), "{:?}", outcome.pods[0].judged.warnings);
            assert_ne!(outcome.object["spec"]["imagePullSecrets"], pod["spec"]["imagePullSecrets"]);
            assert_eq!(uninject(&outcome.object).object, pod);
        }
    }

    #[test]
    fn fails_only_if_a_redis_enterprise_pod_is_not_injected() {
        let (vanilla, operator, no_mount) = (fixture("a-vanilla"), fixture("e1-operator"), fixture("c-ephemeral"));
        let twice = injected(&vanilla).0;
        for (pods, code) in [
            (vec![&vanilla], 0),
            (vec![&twice], 0),
            (vec![&operator], 1),
            (vec![&vanilla, &operator], 0),
            (vec![&vanilla, &no_mount], 1),
            (vec![], 1),
        ] {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
            let ran = injected(&list).1;
            assert_eq!(ran.code, code, "{}", ran.err);
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        let (after, ran) = injected(&map);
        assert_eq!((after, ran.code), (map, 1));
        assert!(ran.err.contains("nothing to inject"), "{}", ran.err);
    }

    #[test]
    fn takes_the_namespace_of_objects_that_name_none() {
        let mut pod = fixture("a-vanilla");
        pod["metadata"].as_object_mut().unwrap().remove("namespace");
        let ran = run(&["inject", "-n", "kube-system"], &pod.to_string());
        assert!(ran.code == 1 && ran.err.contains("reserved_namespace"), "{}", ran.err);
        assert_eq!(run(&["inject", "-n", "redis"], &pod.to_string()).code, 0);
    }

    #[test]
    fn explain_says_what_a_native_sidecar_risks() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join("config.yaml");
        std::fs::write(&config, "sidecarMode: native\n").unwrap();
        let ran = run(&["explain", "--config", config.to_str().unwrap()], &fixture("a-vanilla").to_string());
        assert!(ran.code == 0 && ran.out.contains("Redis does not start either"), "{}", ran.out);
    }

    #[test]
    fn a_wrong_flag_is_exit_code_2_and_prints_no_result() {
        for args in [&["inject", "-o", "xml"][..], &["uninject", "-o", "review"], &["explain", "--what"], &["explode"]]
        {
            let ran = run(args, "");
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}");
        }
    }

    #[test]
    fn names_file_line_and_column_of_bad_input_and_prints_no_result() {
        let temp = tempfile::tempdir().unwrap();
        let bad = temp.path().join("bad.yaml");
        std::fs::write(&bad, "# one\nkind: Pod\n---\nkind: Pod\nspec: {\n").unwrap();
        for command in ["inject", "uninject", "explain"] {
            let ran = run(&[command, "-f", "rec.yaml", "-f", bad.to_str().unwrap()], "");
            assert_eq!((ran.code, ran.out.as_str()), (1, ""));
            assert!(ran.err.contains("bad.yaml: ") && ran.err.contains("line 5, column 7"), "{}", ran.err);
            let ran = run(&[command], "{\"kind\": \"Pod\",\n \"spec\": ]");
            assert!(ran.err.contains("standard input: ") && ran.err.contains("line 2 column 10"), "{}", ran.err);
            let ran = run(&[command, "-f", "none.yaml"], "");
            assert!(ran.code == 1 && ran.err.contains("none.yaml"), "{}", ran.err);
        }
    }

    #[test]
    fn prints_a_review_that_the_webhook_would_refuse_unchanged_with_an_error() {
        let review = json!({"apiVersion": "admission.k8s.io/v2", "kind": "AdmissionReview", "request": {"uid": ""}});
        let (after, ran) = injected(&review);
        assert_eq!((after, ran.code), (review, 1));
        assert!(ran.err.contains("expected admission.k8s.io/v1 or v1beta1"), "{}", ran.err);
    }
}

mod redis_enterprise_cluster {
    use super::*;

    #[test]
    fn gets_a_warning_with_the_pull_secrets_it_needs() {
        let config = Config { image_pull_secrets: vec!["login".to_owned()], ..Config::default() };
        let object = cluster(&json!({}));
        let outcome = inject(&object, None, &config).unwrap();
        assert!(outcome.pods[0].judged.warnings[0].contains("spec.pullSecrets contains login"));
        assert_eq!(outcome.object["spec"].get("imagePullSecrets"), None);
    }

    #[test]
    fn is_given_a_plain_container_and_its_volumes_after_those_it_has() {
        let alloy = json!({"name": "alloy"});
        let spec = json!({
            "sideContainersSpec": [alloy], "volumes": [{"name": "log-shipper-token", "emptyDir": {}}],
            "redisEnterprisePodAnnotations": {"redis-log-shipper.io/sidecar-mode": "native"},
        });
        for version in ["v1", "v1alpha1"] {
            let mut object = cluster(&spec);
            object["apiVersion"] = json!(format!("app.redislabs.com/{version}"));
            let (after, ran) = injected(&object);
            assert_eq!(ran.code, 0, "{}", ran.err);
            assert!(ran.err.contains("sidecar-mode is ignored"), "{}", ran.err);
            assert_eq!(after["spec"]["sideContainersSpec"][0], alloy);
            let ours = &after["spec"]["sideContainersSpec"][1];
            assert_eq!((&ours["name"], &ours["restartPolicy"]), (&json!("log-shipper"), &Value::Null));
            assert_eq!(ours["volumeMounts"][1]["name"], "log-shipper-token-2");
            assert_eq!(after["spec"]["volumes"][1]["name"], "log-shipper-token-2");
        }
    }

    #[test]
    fn is_given_a_plain_container_where_pods_get_a_native_one() {
        let native = Config { sidecar_mode: SidecarMode::Native, ..Config::default() };
        let after = inject(&cluster(&json!({})), None, &native).unwrap().object;
        assert_eq!(after["spec"]["sideContainersSpec"][0]["restartPolicy"], Value::Null);
        assert_eq!(after["spec"]["sideContainersSpec"][0]["name"], "log-shipper");
    }

    #[test]
    fn is_left_alone_if_its_pods_would_be() {
        let ours = injected(&cluster(&json!({}))).0["spec"]["sideContainersSpec"][0].clone();
        let mut older = ours;
        older["image"] = json!("older");
        for (spec, reason) in [
            (json!({"persistentSpec": {"enabled": false}}), "no_log_mount"),
            (json!({"podAnnotations": {"redis-log-shipper.io/inject": "false"}}), "opted_out"),
            (json!({"sideContainersSpec": [{"name": "log-shipper"}]}), "name_taken"),
            (json!({"sideContainersSpec": [older]}), "drift"),
        ] {
            let object = cluster(&spec);
            let (after, ran) = injected(&object);
            assert_eq!((after, ran.code), (object.clone(), 1), "{reason}");
            assert!(ran.err.contains(&format!("not injected: {reason}")), "{}", ran.err);
            let explained = run(&["explain", "-o", "json"], &object.to_string());
            let explained: Value = serde_json::from_str(&explained.out).unwrap();
            assert_eq!(explained[0]["outcome"], reason);
            let failed = explained[0]["rules"].as_array().unwrap().iter().filter(|rule| rule["ok"] == false);
            assert_eq!(failed.map(|rule| &rule["reason"]).collect::<Vec<_>>(), [reason]);
        }
    }

    #[test]
    fn is_injected_once_and_restored() {
        for spec in [json!({}), json!({"nodes": 3, "volumes": [{"name": "x"}], "sideContainersSpec": [{"name": "y"}]})]
        {
            let object = cluster(&spec);
            let once = injected(&object).0;
            assert_ne!(once, object);
            let (twice, ran) = injected(&once);
            assert_eq!((twice, ran.code), (once.clone(), 0), "{}", ran.err);
            assert_eq!(uninject(&once).object, object);
        }
    }
}

mod uninject_command {
    use super::*;

    #[test]
    fn restores_every_golden_pod_in_every_kind_of_object() {
        let native = Config { sidecar_mode: SidecarMode::Native, ..Config::default() };
        let ephemeral = Config { state: State::Ephemeral, ..Config::default() };
        let mut changed = 0;
        for (object, _) in golden_pods().iter().flat_map(holders) {
            for config in [&Config::default(), &native, &ephemeral] {
                let injected = inject(&object, None, config).unwrap().object;
                changed += usize::from(injected != object);
                assert_eq!(uninject(&injected).object, object);
            }
        }
        assert!(changed > 100);
    }

    #[test]
    fn patches_an_object_to_what_it_was_before() {
        for (object, _) in holders(&fixture("a2-vanilla-annotated")).into_iter().chain([(cluster(&json!({})), "")]) {
            let ran = run(&["uninject", "-o", "patch"], &injected(&object).0.to_string());
            assert_eq!(ran.code, 0, "{}", ran.err);
            let patch: json_patch::Patch = serde_json::from_str(&ran.out).unwrap();
            let mut patched = injected(&object).0;
            json_patch::patch(&mut patched, &patch).unwrap();
            assert_eq!(patched, object);
        }
        let ran = run(&["uninject", "-o", "patch"], &fixture("a-vanilla").to_string());
        assert_eq!((ran.code, ran.out.as_str()), (1, "[]\n"));
    }

    #[test]
    fn its_patch_fails_on_an_object_that_has_changed_since() {
        let pod = injected(&fixture("a-vanilla")).0;
        let ran = run(&["uninject", "-o", "patch"], &pod.to_string());
        let patch: json_patch::Patch = serde_json::from_str(&ran.out).unwrap();
        let changes: [fn(&mut Value); 4] = [
            |pod| pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "new"})),
            |pod| pod["spec"]["volumes"].as_array_mut().unwrap().insert(0, json!({"name": "new"})),
            |pod| pod["metadata"]["annotations"]["new"] = json!("1"),
            |pod| pod["metadata"]["annotations"]["redis-log-shipper.io/hash"] = json!("new"),
        ];
        for change in changes {
            let mut now = pod.clone();
            change(&mut now);
            let before = now.clone();
            assert!(json_patch::patch(&mut now, &patch).is_err());
            assert_eq!(now, before);
        }
    }

    #[test]
    fn restores_a_pod_that_is_stored_in_a_cluster() {
        let mut stored = injected(&fixture("a-vanilla")).0;
        let mut expected = fixture("a-vanilla");
        for pod in [&mut stored, &mut expected] {
            pod["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
            pod["status"] = json!({"phase": "Running", "containerStatuses": [{"name": "log-shipper"}]});
        }
        let ours = stored["spec"]["containers"].as_array_mut().unwrap().last_mut().unwrap();
        ours["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "kube-api-access-7x2kq", "mountPath": "/x"}));
        let ran = run(&["uninject", "-o", "json"], &stored.to_string());
        assert_eq!((ran.code, serde_json::from_str::<Value>(&ran.out).unwrap()), (0, expected), "{}", ran.err);
    }

    #[test]
    fn keeps_volumes_that_other_containers_mount_and_volumes_of_other_names() {
        let mut pod = injected(&fixture("a-vanilla")).0;
        let mounts = json!([{"name": "log-shipper-token", "mountPath": "/token"}]);
        pod["spec"]["ephemeralContainers"] = json!([{"name": "debug", "volumeMounts": mounts}]);
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "log-shipper-state-of-mine"}));
        let ours = pod["spec"]["containers"].as_array_mut().unwrap().last_mut().unwrap();
        ours["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "log-shipper-state-of-mine"}));
        let restored = uninject(&pod).object;
        assert!(sidecar(&restored).is_none());
        let mut kept = pod["spec"]["volumes"].as_array().unwrap().clone();
        kept.retain(|volume| volume["name"] != "log-shipper-state");
        assert_eq!(restored["spec"]["volumes"], json!(kept));
    }

    #[test]
    fn prints_a_pod_unchanged_that_we_did_not_inject() {
        let vanilla = fixture("a-vanilla");
        let mut theirs = vanilla.clone();
        theirs["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "log-shipper"}));
        for (pod, said) in [(vanilla, "it has no container log-shipper"), (theirs, "this webhook did not add")] {
            let ran = run(&["uninject", "-o", "json"], &pod.to_string());
            assert_eq!((ran.code, serde_json::from_str::<Value>(&ran.out).unwrap()), (1, pod));
            assert!(ran.err.contains(said), "{}", ran.err);
        }
    }

    #[test]
    fn shows_what_changes() {
        let pod = injected(&fixture("a-vanilla")).0;
        let ran = run(&["uninject", "-o", "diff"], &pod.to_string());
        assert!(ran.out.contains("-    name: log-shipper\n"), "{}", ran.out);
        assert!(!ran.out.lines().any(|line| line.starts_with('+') && !line.starts_with("+++")), "{}", ran.out);
    }
}

mod explain_command {
    use super::*;

    fn explained(object: &Value) -> (Value, i32) {
        let ran = run(&["explain", "-o", "json"], &object.to_string());
        (serde_json::from_str(&ran.out).unwrap(), ran.code)
    }

    #[test]
    fn succeeds_for_a_pod_that_is_injected_already() {
        let (explained, code) = explained(&injected(&fixture("b-openshift")).0);
        assert_eq!((&explained[0]["injected"], &explained[0]["outcome"]), (&json!(true), &json!("already_injected")));
        assert_eq!(code, 0);
    }

    #[test]
    fn checks_every_rule_for_the_pod_in_every_kind_of_object() {
        for (object, _) in holders(&fixture("a-vanilla")) {
            let (explained, code) = explained(&object);
            assert_eq!((explained.as_array().unwrap().len(), code), (1, 0), "{}", object["kind"]);
            let rules = explained[0]["rules"].as_array().unwrap();
            assert!(rules.len() >= 9 && rules.iter().all(|rule| rule["ok"] == true), "{rules:?}");
        }
    }

    #[test]
    fn explains_a_review_that_creates_no_pod() {
        let review = |change: fn(&mut Value)| {
            let mut review = holders(&fixture("a-vanilla")).pop().unwrap().0;
            change(&mut review["request"]);
            explained(&review)
        };
        for (change, reason) in [
            ((|request| request["operation"] = json!("UPDATE")) as fn(&mut Value), "not_a_creation"),
            (|request| request["object"] = Value::Null, "no_object"),
        ] {
            let (explained, code) = review(change);
            assert_eq!((&explained[0]["outcome"], code), (&json!(reason), 1));
            assert_eq!(explained[0]["rules"][0]["reason"], reason);
        }
    }

    #[test]
    fn prints_no_colours_and_no_control_characters_into_a_pipe() {
        let mut pod = fixture("a-vanilla");
        pod["metadata"]["name"] = json!("a\u{1b}[31m\nb");
        let ran = run(&["explain"], &pod.to_string());
        assert!(!ran.out.contains('\u{1b}') && ran.out.starts_with("pod/a [31m b (namespace redis)\n"), "{}", ran.out);
    }
}

mod yaml {
    use super::*;

    #[test]
    fn quotes_what_a_yaml_1_1_reader_would_take_for_something_else() {
        let texts = "yes no on off y n Y N true null ~ NULL 0755 0o755 0x1F 0b11 1e3 1_000 1:30 2001-01-01 .inf .nan \
                     1. .5 +1 -1 = << 0 1__0 12e03";
        for text in
            texts.split_whitespace().chain(["", " a", "a ", "- a", "a: b", "a #b", "#a", "!a", "*a", "&a", "%a"])
        {
            let yaml = to_yaml(&json!({"value": text, text: "key"})).unwrap();
            let quoted = [format!("value: \"{text}\"\n"), format!("value: '{text}'\n")];
            assert!(quoted.iter().any(|line| yaml.contains(line)), "{yaml}");
            let quoted = [format!("\"{text}\": key\n"), format!("'{text}': key\n")];
            assert!(quoted.iter().any(|line| yaml.contains(line)), "{yaml}");
        }
    }

    #[test]
    fn is_read_as_kubectl_reads_it() {
        let text = "a: 0644\nb: yes\nc: Off\nd: 0x1F\ne: 1_000\nf: '0644'\ng: 1:30\nh: \"yes\"\ni: ~\n";
        let expected = json!({
            "a": 420, "b": true, "c": false, "d": 31, "e": 1000, "f": "0644", "g": "1:30", "h": "yes", "i": null,
        });
        assert_eq!(parse("x", text).unwrap()[0].object, expected);
    }

    #[test]
    fn writes_scripts_in_lines_unless_kubectl_could_not_read_them() {
        assert_eq!(to_yaml(&json!({"a": "set -e\necho yes\n"})).unwrap(), "a: |\n  set -e\n  echo yes\n");
        assert_eq!(to_yaml(&json!({"a": "\t\nb\n"})).unwrap(), "a: \"\\t\\nb\\n\"\n");
    }

    #[test]
    fn boundaries_hold_in_texts_and_directives_belong_to_the_document_below() {
        let documents = |text: &str| {
            let all = parse("x", text).unwrap();
            all.into_iter().map(|document| document.object).filter(|object| !object.is_null()).collect::<Vec<_>>()
        };
        assert_eq!(documents("a: |\n  x\n---\nb: 1\n"), [json!({"a": "x\n"}), json!({"b": 1})]);
        assert_eq!(documents("%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 1\n"), [json!({"a": 1}), json!({"b": 1})]);
        assert_eq!(documents("--- {a: 1}\n--- # c\nb: ---\n"), [json!({"a": 1}), json!({"b": "---"})]);
        assert_eq!(documents("\u{feff}a: 1\r\n---\r\nb: 1\r\n"), [json!({"a": 1}), json!({"b": 1})]);
        assert_eq!(documents("{a: 1}"), [json!({"a": 1})]);
        assert_eq!(documents("\u{feff}{\"a\": 1} {\"b\": 1}"), [json!({"a": 1}), json!({"b": 1})]);
    }

    proptest! {
        #[test]
        fn is_read_back_unchanged(text in "[ \\PC\n\t:#'\"|>~-]{0,12}", key in "[a-z0-9:# .'-]{0,6}") {
            let object = json!({key: [text.clone(), {"b": text}]});
            let yaml = to_yaml(&object).unwrap();
            prop_assert_eq!(&parse("x", &yaml).unwrap()[0].object, &object);
        }

        #[test]
        fn without_a_change_is_the_same_text(
            lines in prop::collection::vec(
                prop::sample::select(vec!["---", "a: 1", "# c", "", "b: |", "  x", "--- # c", "--- {c: 1}", "\t"]), 0..9),
        ) {
            let text = lines.join("\n");
            if let Ok(documents) = parse("x", &text) {
                let changes: Vec<_> = documents.iter().map(|document| Change { document, after: None }).collect();
                prop_assert_eq!(render::yaml(&changes).unwrap(), text);
            }
        }

        #[test]
        fn of_any_kind_never_panics(text in "(?s)([-{}\\[\\]:,#|>&*!% \n\"'a1]|---\n|kind: Pod\n|spec:\n|items:\n){0,16}") {
            for document in parse("x", &text).unwrap_or_default() {
                let _ = inject(&document.object, None, &Config::default());
                let _ = uninject(&document.object);
            }
        }
    }
}
