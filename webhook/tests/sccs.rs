//! The sidecar never changes which SCC (security context constraints) admits a pod on OpenShift.
//!
//! OpenShift's SCC plugin cannot be built here. `scc-matrix.csv` has the answers of an OpenShift kube-apiserver 1.36: 14
//! SCCs, 11 pods and two accounts, each pod alone, with a sidecar that has a seccomp profile, and with a sidecar that has
//! none.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use redis_log_webhook::admission::{Verdict, judge};
use redis_log_webhook::config::{Config, Seccomp};
use serde_json::{Value, json};

/// The account that may use only one SCC.
const ONE_SCC: &str = "only this SCC";

/// One pod and one account.
#[derive(Debug)]
struct Row {
    account: String,
    scc: String,
    pod: String,
    without_sidecar: String,
    with_seccomp: String,
    without_seccomp: String,
}

fn rows() -> Vec<Row> {
    include_str!("scc-matrix.csv").lines().skip(1).map(row).collect()
}

/// At most one field per line is quoted.
fn row(line: &str) -> Row {
    let parts: Vec<_> = line.split('"').collect();
    let fields: Vec<&str> = match parts[..] {
        [plain] => plain.split(',').collect(),
        [before, quoted, after] => {
            let before = before.trim_end_matches(',').split(',');
            before.chain([quoted]).chain(after.trim_start_matches(',').split(',')).collect()
        }
        _ => panic!("{line}"),
    };
    let [account, scc, pod, without_sidecar, with_seccomp, without_seccomp] =
        <[&str; 6]>::try_from(fields).unwrap().map(ToOwned::to_owned);
    Row { account, scc, pod, without_sidecar, with_seccomp, without_seccomp }
}

/// A pod of this shape as the webhook gets it, with the SCC that the plugin noted in an annotation.
fn pod(shape: &str, scc: &str) -> Value {
    let mounts = json!([{"name": "storage", "mountPath": "/var/opt/redislabs/log", "subPath": "logs"}]);
    let labels = json!({"app": "redis-enterprise", "redis.io/role": "node", "redis.io/cluster": "rec"});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "rec-0", "namespace": "redis", "labels": labels, "annotations": {"openshift.io/scc": scc},
        },
        "spec": {
            "containers": [{"name": "redis-enterprise-node", "volumeMounts": mounts}, {"name": "bootstrapper"}],
            "volumes": [{"name": "storage", "persistentVolumeClaim": {"claimName": "storage-rec-0"}}],
        },
    });
    let set = |spec: &mut Value, pod_level: Value, container_level: Value| {
        spec["securityContext"] = pod_level;
        for container in spec["containers"].as_array_mut().unwrap() {
            container["securityContext"] = container_level.clone();
        }
    };
    let (spec, profile) = (&mut pod["spec"], json!({"type": "RuntimeDefault"}));
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let with = |key: &str, value: Value| {
        let mut context = restricted.clone();
        context[key] = value;
        context
    };
    let user = || json!({"runAsUser": 1001, "fsGroup": 1001});
    match shape {
        "nothing set" => {}
        "no user" => set(spec, json!({}), restricted),
        "user 1001" => set(spec, user(), restricted),
        "user 1001, seccomp" => {
            set(spec, json!({"runAsUser": 1001, "fsGroup": 1001, "seccompProfile": profile}), restricted);
        }
        "container's user 1001" => set(spec, json!({}), with("runAsUser", json!(1001))),
        "containers' seccomp" => set(spec, user(), with("seccompProfile", profile)),
        "SYS_RESOURCE" => set(spec, user(), with("capabilities", json!({"drop": ["ALL"], "add": ["SYS_RESOURCE"]}))),
        "root" => set(spec, json!({"runAsUser": 0}), restricted),
        "host network" => {
            set(spec, user(), restricted);
            spec["hostNetwork"] = json!(true);
        }
        "no automount" => {
            set(spec, user(), restricted);
            spec["automountServiceAccountToken"] = json!(false);
        }
        "user namespace" => spec["hostUsers"] = json!(false),
        _ => panic!("{shape} is no shape of the matrix"),
    }
    pod
}

fn injected(pod: &Value, config: &Config) -> Value {
    let Verdict::Injected(patch) = judge(pod, None, config).verdict else { panic!("not injected: {pod}") };
    let mut injected = pod.clone();
    json_patch::patch(&mut injected, &patch).unwrap();
    injected
}

fn sidecar(pod: &Value) -> &Value {
    pod["spec"]["containers"].as_array().unwrap().iter().find(|container| container["name"] == "log-shipper").unwrap()
}

/// The SCC that admits `row`'s pod with this sidecar.
///
/// The sidecar without a profile was not tried with accounts that may use several SCCs. There the answer follows from the
/// account that may use only the SCC that admitted the pod. The plugin takes the first SCC in its order that admits all
/// containers. The earlier ones refused the pod without the sidecar, so they also refuse it with one more container.
fn admitted<'a>(rows: &'a [Row], row: &'a Row, sidecar: &Value) -> &'a str {
    if sidecar["securityContext"].get("seccompProfile").is_some() {
        return &row.with_seccomp;
    }
    let tried = |row: &&Row| row.without_seccomp != "not run";
    let alone = |other: &&Row| other.account == ONE_SCC && other.scc == row.without_sidecar && other.pod == row.pod;
    let row = Some(row).filter(tried).or_else(|| rows.iter().find(alone).filter(tried));
    &row.unwrap().without_seccomp
}

/// For all rows whose pod is admitted alone: how many pods stay with their SCC, are refused, and get another SCC.
fn outcomes(seccomp: Seccomp) -> [usize; 3] {
    let (rows, config) = (rows(), Config { seccomp, ..Config::default() });
    let mut outcomes = [0; 3];
    for row in rows.iter().filter(|row| row.without_sidecar != "refused") {
        let pod = injected(&pod(&row.pod, &row.without_sidecar), &config);
        let outcome = match admitted(&rows, row, sidecar(&pod)) {
            same if same == row.without_sidecar => 0,
            "refused" => 1,
            _ => 2,
        };
        outcomes[outcome] += 1;
    }
    outcomes
}

#[test]
fn every_pod_that_is_admitted_alone_is_admitted_with_the_sidecar_under_the_same_scc() {
    assert_eq!(rows().len(), 308);
    assert_eq!(outcomes(Seccomp::Auto), [143, 0, 0]);
    assert_eq!(outcomes(Seccomp::Never), [143, 0, 0]);
    // The failures that `auto` avoids.
    assert_eq!(outcomes(Seccomp::Always), [92, 48, 3]);
}

/// An SCC checks only the security context, the volumes and the ports.
#[test]
fn nothing_else_of_the_sidecar_matters_to_an_scc() {
    let rows = rows();
    for row in rows.iter().filter(|row| row.account == ONE_SCC) {
        let before = pod(&row.pod, &row.scc);
        let after = injected(&before, &Config::default());
        let (context, theirs) =
            (&sidecar(&after)["securityContext"], &before["spec"]["containers"][0]["securityContext"]);
        let fixed = ["allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot"];
        for (key, value) in context.as_object().unwrap() {
            assert!(fixed.contains(&key.as_str()) || *value == theirs[key], "{}: {key}: {value}", row.pod);
        }
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(sidecar(&after).get("ports"), None);
        // Every stock SCC allows both types.
        for volume in after["spec"]["volumes"].as_array().unwrap().iter().skip(1) {
            assert!(volume.get("projected").or_else(|| volume.get("emptyDir")).is_some(), "{volume}");
        }
        for (key, value) in before["spec"].as_object().unwrap() {
            assert!(["containers", "volumes"].contains(&key.as_str()) || after["spec"][key] == *value, "{key}");
        }
        assert_eq!(before["spec"].as_object().unwrap().len(), after["spec"].as_object().unwrap().len());
    }
}

/// Under Pod Security `restricted`, every container needs its own profile or the pod's.
#[test]
fn the_sidecar_has_a_profile_where_the_databases_container_has_one_and_where_no_scc_judged_the_pod() {
    let localhost = json!({"type": "Localhost", "localhostProfile": "redis.json"});
    let default = json!({"type": "RuntimeDefault"});
    let profile_of = |pod_level: &Value, of_container: &Value, scc: bool, seccomp| {
        let mut pod = pod("user 1001", "nonroot");
        pod["spec"]["securityContext"]["seccompProfile"] = pod_level.clone();
        pod["spec"]["containers"][0]["securityContext"]["seccompProfile"] = of_container.clone();
        if !scc {
            pod["metadata"]["annotations"] = json!({"a": "b"});
        }
        let pod = injected(&pod, &Config { seccomp, ..Config::default() });
        sidecar(&pod)["securityContext"].get("seccompProfile").cloned().unwrap_or_default()
    };
    let none = Value::Null;
    for (pod_level, of_container, scc, auto) in [
        (&none, &none, true, &none),
        (&none, &none, false, &default),
        (&none, &localhost, true, &localhost),
        (&none, &localhost, false, &localhost),
        // The sidecar inherits the pod's profile.
        (&default, &none, true, &none),
        (&default, &none, false, &none),
        (&default, &localhost, true, &none),
        (&none, &json!({}), true, &none),
    ] {
        let case = format!("{pod_level} {of_container} {scc}");
        assert_eq!(profile_of(pod_level, of_container, scc, Seccomp::Auto), *auto, "{case}");
        assert_eq!(profile_of(pod_level, of_container, scc, Seccomp::Always), default, "{case}");
        assert_eq!(profile_of(pod_level, of_container, scc, Seccomp::Never), none, "{case}");
    }
}
