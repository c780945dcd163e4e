//! For any pod, the patch only adds, always applies, and changes nothing else.
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use redis_log_webhook::admission::{Verdict, judge, outline};
use redis_log_webhook::config::{Config, Seccomp, SidecarMode, State};
use serde_json::{Map, Value, json};

/// Any JSON value, with any keys.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z0-9/~._-]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Fields of future versions.
fn extras() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("x[a-z~/]{1,5}", anything(), 0..3).prop_map(|map| map.into_iter().collect())
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    (extras(), proptest::option::of(anything()), proptest::option::of(anything())).prop_map(
        move |(extras, env, context)| {
            let mut container = extras;
            container.insert("name".to_owned(), json!(name));
            container
                .insert("volumeMounts".to_owned(), json!([{"name": "logs", "mountPath": "/var/opt/redislabs/log"}]));
            container.extend(env.map(|env| ("env".to_owned(), env)));
            container.extend(context.map(|context| ("securityContext".to_owned(), context)));
            Value::Object(container)
        },
    )
}

/// A list or map that may be absent, null, empty, or of another type.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![4 => value.prop_map(Some), 1 => Just(None), 1 => Just(Some(Value::Null)), 1 => Just(Some(json!([])))]
}

/// A pod that is injected, with arbitrary other fields.
fn pod() -> impl Strategy<Value = Value> {
    let volumes = proptest::collection::vec(
        prop_oneof![
            Just(json!({"name": "logs", "persistentVolumeClaim": {"claimName": "c"}})),
            Just(json!({"name": "logs", "emptyDir": {}})),
            Just(json!({"name": "log-shipper-token", "emptyDir": {}})),
            Just(json!({"name": "log-shipper-state", "emptyDir": {"sizeLimit": "64Mi"}})),
        ],
        0..4,
    );
    let secrets = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3)
        .prop_map(|names| names.into_iter().map(|name| json!({"name": name})).collect());
    let others = proptest::collection::vec(container("other"), 0..5);
    let annotations = proptest::collection::btree_map(
        prop_oneof![
            "[a-z/~.]{1,12}",
            Just("redis-log-shipper.io/cpu".to_owned()),
            Just("redis-log-shipper.io/hash".to_owned()),
            Just("redis-log-shipper.io/status".to_owned()),
        ],
        ".{0,12}",
        0..4,
    );
    (
        (container("redis-enterprise-node"), others, maybe(volumes.prop_map(|volumes| json!(volumes)))),
        (
            maybe(annotations.prop_map(|annotations| json!(annotations))),
            maybe(anything()),
            maybe(secrets),
            extras(),
            extras(),
            extras(),
        ),
    )
        .prop_map(|((node, others, volumes), (annotations, init, secrets, more_pod, more_metadata, more_spec))| {
            let mut containers = others;
            // The API server ensures that names in a pod are unique.
            for (i, other) in containers.iter_mut().enumerate() {
                other["name"] = json!(format!("other-{i}"));
            }
            containers.push(node);
            let (mut metadata, mut spec, mut pod) = (more_metadata, more_spec, more_pod);
            metadata.insert(
                "labels".to_owned(),
                json!({"app": "redis-enterprise", "redis.io/role": "node", "redis.io/cluster": "rec"}),
            );
            metadata.extend(
                annotations.filter(|a| !a.is_array()).map(|annotations| ("annotations".to_owned(), annotations)),
            );
            spec.insert("containers".to_owned(), json!(containers));
            let mut names = BTreeSet::new();
            spec.extend(volumes.map(|volumes| {
                let volumes = volumes.as_array().map(|volumes| {
                    let first = volumes.iter().filter(|volume| names.insert(volume["name"].to_string()));
                    first.cloned().collect::<Vec<_>>()
                });
                ("volumes".to_owned(), json!(volumes))
            }));
            spec.extend(secrets.map(|secrets| ("imagePullSecrets".to_owned(), secrets)));
            spec.extend(init.filter(|init| !init.is_object()).map(|_| ("initContainers".to_owned(), Value::Null)));
            pod.insert("metadata".to_owned(), Value::Object(metadata));
            pod.insert("spec".to_owned(), Value::Object(spec));
            Value::Object(pod)
        })
}

fn config() -> impl Strategy<Value = Config> {
    let mode = prop_oneof![Just(SidecarMode::Container), Just(SidecarMode::Native)];
    let state = prop_oneof![Just(State::Persistent), Just(State::Ephemeral)];
    let seccomp = prop_oneof![Just(Seccomp::Auto), Just(Seccomp::Always), Just(Seccomp::Never)];
    let secrets = proptest::sample::subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
    (mode, state, seccomp, secrets).prop_map(|(sidecar_mode, state, seccomp, image_pull_secrets)| Config {
        image_pull_secrets,
        sidecar_mode,
        state,
        seccomp,
        ..Config::default()
    })
}

/// What may be null before we add something.
const NOTHING_YET: [&str; 4] =
    ["/spec/volumes", "/spec/imagePullSecrets", "/spec/initContainers", "/metadata/annotations"];

/// Everything in `before` must be at its place in `after`. Lists and maps may have grown.
fn assert_survives(before: &Value, after: &Value, at: &str) -> Result<(), TestCaseError> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                if at == "/metadata/annotations"
                    && ["redis-log-shipper.io/status", "redis-log-shipper.io/hash"].contains(&key.as_str())
                {
                    continue;
                }
                let Some(after) = after.get(key) else {
                    return Err(TestCaseError::fail(format!("{at}/{key} is gone")));
                };
                assert_survives(value, after, &format!("{at}/{key}"))?;
            }
            Ok(())
        }
        (Value::Array(before), Value::Array(after)) => {
            prop_assert!(after.len() >= before.len(), "{at} has shrunk");
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                assert_survives(before, after, &format!("{at}/{i}"))?;
            }
            Ok(())
        }
        // Our list or map may replace null.
        (Value::Null, after) if NOTHING_YET.contains(&at) => {
            prop_assert!(after.is_array() || after.is_object() || after.is_null());
            Ok(())
        }
        (before, after) => {
            prop_assert_eq!(before, after, "{} has changed", at);
            Ok(())
        }
    }
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

fn are_unique(mut names: Vec<&str>) -> bool {
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_patch_only_adds_and_everything_else_survives(pod in pod(), config in config()) {
        let judged = judge(&pod, Some("redis"), &config);
        let Verdict::Injected(patch) = &judged.verdict else {
            panic!("{:?}: {pod}", judged.verdict);
        };
        let after = &mut pod.clone();
        json_patch::patch(after, patch).unwrap();
        for operation in &patch.0 {
            prop_assert!(matches!(operation, json_patch::PatchOperation::Add(_)), "{operation:?}");
        }
        assert_survives(&pod, after, "")?;
        prop_assert!(are_unique([names(after, "containers"), names(after, "initContainers")].concat()));
        prop_assert!(are_unique(names(after, "volumes")));
        prop_assert!(are_unique(names(after, "imagePullSecrets")));
        prop_assert!(config.image_pull_secrets.iter().all(|name| names(after, "imagePullSecrets").contains(&name.as_str())));
        let list = if config.sidecar_mode.is_native(None) { "initContainers" } else { "containers" };
        let sidecar = after["spec"][list].as_array().unwrap().last().unwrap();
        let paths = sidecar["volumeMounts"].as_array().unwrap().iter().map(|mount| mount["mountPath"].as_str().unwrap());
        prop_assert!(are_unique(paths.collect()));
        let volumes = names(after, "volumes");
        for mount in sidecar["volumeMounts"].as_array().unwrap() {
            let name = mount["name"].as_str().unwrap();
            // A pod does not list the volume of a claim template.
            prop_assert!(volumes.contains(&name) || name == "logs", "{name} of {volumes:?}");
        }
    }

    #[test]
    fn injecting_twice_patches_nothing(pod in pod(), config in config()) {
        let Verdict::Injected(patch) = judge(&pod, Some("redis"), &config).verdict else { panic!("{pod}") };
        let mut once = pod;
        json_patch::patch(&mut once, &patch).unwrap();
        prop_assert_eq!(judge(&once, Some("redis"), &config).verdict.outcome(), "already_injected");
    }

    /// A review is parsed to an outline of the pod, which must make no difference.
    #[test]
    fn the_outline_of_a_pod_is_judged_as_the_pod(pod in pod(), config in config()) {
        let judged = judge(&pod, Some("redis"), &config);
        let outline = outline::read(&pod).unwrap();
        let outlined = judge(if outline::is_enough(&outline) { &outline } else { &pod }, Some("redis"), &config);
        prop_assert_eq!(judged.warnings, outlined.warnings);
        match (judged.verdict, outlined.verdict) {
            (Verdict::Injected(of_pod), Verdict::Injected(of_outline)) => prop_assert_eq!(of_pod, of_outline),
            (of_pod, of_outline) => prop_assert_eq!(of_pod.outcome(), of_outline.outcome()),
        }
    }

    #[test]
    fn the_outline_keeps_its_parts_unchanged(value in anything()) {
        let pod = json!({"metadata": {"annotations": value.clone()}, "spec": {"securityContext": value}});
        prop_assert_eq!(&outline::read(&pod).unwrap(), &pod);
        prop_assert_eq!(outline::read(&mut serde_json::Deserializer::from_str(&pod.to_string())).unwrap(), pod);
    }

    #[test]
    fn no_input_makes_it_panic(pod in anything(), metadata in anything(), spec in anything()) {
        judge(&pod, None, &Config::default());
        outline::is_enough(&outline::read(&pod).unwrap());
        judge(&json!({"metadata": metadata, "spec": spec}), Some("redis"), &Config::default());
        let labels = json!({"app": "redis-enterprise", "redis.io/role": "node", "redis.io/cluster": "rec"});
        judge(&json!({"metadata": {"labels": labels, "annotations": metadata}, "spec": spec}), None, &Config::default());
    }
}
