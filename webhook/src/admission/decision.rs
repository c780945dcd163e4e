//! The rules that a pod must meet to be injected. The first rule that fails is the reason to leave the pod alone.
//!
//! `explain` shows the verdict of every rule. The opt-in of the namespace is no rule: the API server's selector checks it
//! before it calls the webhook. Whether the pod is injected already is asked later, by `presence`.

use serde_json::Value;

use super::annotations::{self, Wish};
use super::case::{Case, Target, covers};
use super::pod::{SIDECAR, annotation, mount_path, mounts, name, spec_items, text};
use super::skip::Skip;
use super::variables;

/// One condition for injection.
#[derive(Debug)]
pub struct Rule {
    /// The condition, in words.
    pub name: &'static str,
    check: fn(&Case<'_>) -> Result<(), Skip>,
}

/// All rules, in the order in which they are checked.
pub static RULES: &[Rule] = &[
    Rule { name: "the namespace is open to injection", check: namespace_is_open },
    Rule { name: "the labels are those of a Redis Enterprise node", check: is_redis_enterprise_node },
    Rule { name: "it is not a mirror pod", check: is_no_mirror_pod },
    Rule { name: "it runs on Linux", check: is_linux },
    Rule { name: "it is not being deleted", check: is_not_being_deleted },
    Rule { name: "it has the container that writes the logs", check: has_node_container },
    Rule { name: "its annotations do not opt out", check: does_not_opt_out },
    Rule { name: "a volume is mounted over the log directory", check: has_log_mount },
];

impl Rule {
    /// Checks the rule; the error is the reason why it fails.
    pub fn check(&self, case: &Case<'_>) -> Result<(), Skip> {
        (self.check)(case)
    }
}

/// Checks all rules. Returns where the logs are, or the reason of the first rule that fails.
pub fn decide<'a>(case: &Case<'a>) -> Result<Target<'a>, Skip> {
    RULES.iter().try_for_each(|rule| rule.check(case))?;
    case.target().ok_or(Skip::NoLogMount)
}

/// Other containers that mount the log directory. If one of them ships logs too, every line arrives twice.
pub fn other_readers<'a>(case: &Case<'a>, target: &Target<'a>) -> impl Iterator<Item = &'a str> {
    let (dir, volume, writer) = (&case.config.matching.log_dir, target.mount.get("name"), target.container);
    spec_items(case.pod, "containers")
        .filter(move |other| !std::ptr::eq(*other, writer) && name(other) != Some(SIDECAR))
        .filter(move |other| {
            let has_logs =
                |mount: &Value| mount.get("name") == volume && mount_path(mount).is_some_and(|path| covers(path, dir));
            mounts(other).any(has_logs)
        })
        .filter_map(name)
}

/// Some namespaces are never injected, whatever a selector says.
fn namespace_is_open(case: &Case<'_>) -> Result<(), Skip> {
    let reserved = case.namespace().is_some_and(|namespace| {
        namespace == "default"
            || namespace == case.config.namespace
            || namespace.starts_with("kube-")
            || namespace.starts_with("openshift-")
    });
    fail_if(reserved, Skip::ReservedNamespace)
}

fn is_redis_enterprise_node(case: &Case<'_>) -> Result<(), Skip> {
    let label = |key: &str| case.pod.pointer("/metadata/labels")?.get(key)?.as_str();
    let matching = &case.config.matching;
    let all = matching.labels.iter().all(|(key, value)| label(key) == Some(value.as_str()));
    fail_if(!all || label(&matching.cluster_label).is_none(), Skip::NotRedisEnterprise)
}

fn is_no_mirror_pod(case: &Case<'_>) -> Result<(), Skip> {
    fail_if(annotation(case.pod, "kubernetes.io/config.mirror").is_some(), Skip::MirrorPod)
}

fn is_linux(case: &Case<'_>) -> Result<(), Skip> {
    let windows = ["/spec/os/name", "/spec/nodeSelector/kubernetes.io~1os"]
        .iter()
        .any(|at| text(case.pod, at) == Some("windows"));
    fail_if(windows, Skip::WindowsPod)
}

fn is_not_being_deleted(case: &Case<'_>) -> Result<(), Skip> {
    fail_if(text(case.pod, "/metadata/deletionTimestamp").is_some(), Skip::BeingDeleted)
}

fn has_node_container(case: &Case<'_>) -> Result<(), Skip> {
    fail_if(case.node_container().is_none(), Skip::NoNodeContainer)
}

fn does_not_opt_out(case: &Case<'_>) -> Result<(), Skip> {
    match annotations::wish(case.pod) {
        Wish::Inject => Ok(()),
        Wish::OptOut => Err(Skip::OptedOut),
        Wish::Unclear => Err(Skip::InvalidOptIn),
    }
}

fn has_log_mount(case: &Case<'_>) -> Result<(), Skip> {
    let target = case.target().ok_or(Skip::NoLogMount)?;
    fail_if(target.covered_own_dir().is_some(), Skip::LogMountTooWide)?;
    let expression = target.mount.get("subPathExpr").and_then(Value::as_str).unwrap_or_default();
    fail_if(variables::copied(expression, target.container).is_err(), Skip::LogMountUnclear)
}

fn fail_if(fails: bool, skip: Skip) -> Result<(), Skip> {
    if fails { Err(skip) } else { Ok(()) }
}
