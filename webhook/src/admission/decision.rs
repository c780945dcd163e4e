//! Inject, or a named reason to skip. Pure: the namespace's opt-in is the API server's selector's business.
//!
//! The rules are a table: deciding takes the first one that fails, `explain` shows them all.

use serde_json::Value;

use super::additions::{OWN_DIRS, additions};
use super::annotations::{self, Wish};
use super::variables;
use crate::config::Config;

/// The container we add.
pub const SIDECAR: &str = "log-shipper";

/// A pod, and everything that is asked about it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The pod as it would be stored.
    pub pod: &'a Value,
    /// The namespace of the request, which a pod from a template does not name itself.
    pub namespace: Option<&'a str>,
    /// The configuration with the pod's own overrides.
    pub config: &'a Config,
}

/// Where the logs of a pod are.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container that writes them.
    pub container: &'a Value,
    /// Its mount that covers the log directory.
    pub mount: &'a Value,
}

/// Why a pod is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`reason` says each in words")]
pub enum Skip {
    NotAPod,
    Subresource,
    NotACreation,
    NoObject,
    ReservedNamespace,
    NotRedisEnterprise,
    NoNodeContainer,
    NoLogMount,
    LogMountTooWide,
    LogMountUnclear,
    OptedOut,
    InvalidOptIn,
    MirrorPod,
    WindowsPod,
    BeingDeleted,
    AlreadyInjected,
    Drift,
    NameTaken,
    SteppedAside,
    FuseBlown,
    NoRoom,
}

/// One thing that must hold for a pod to be injected.
#[derive(Debug)]
pub struct Rule {
    /// What must hold.
    pub name: &'static str,
    check: fn(&Case<'_>) -> Result<(), Skip>,
}

/// All rules, in the order in which they are asked.
pub static RULES: &[Rule] = &[
    Rule { name: "the namespace is open to injection", check: namespace_is_open },
    Rule { name: "the labels are those of a Redis Enterprise node", check: is_redis_enterprise_node },
    Rule { name: "it is no mirror pod of a kubelet", check: is_no_mirror_pod },
    Rule { name: "it runs on Linux", check: is_linux },
    Rule { name: "it is not being deleted", check: is_not_being_deleted },
    Rule { name: "it has the container that writes the logs", check: has_node_container },
    Rule { name: "its annotations do not opt out", check: does_not_opt_out },
    Rule { name: "a volume is mounted over the log directory", check: has_log_mount },
    Rule { name: "it has no container log-shipper yet", check: has_no_sidecar },
];

impl Rule {
    /// Whether the rule holds, or why not.
    pub fn check(&self, case: &Case<'_>) -> Result<(), Skip> {
        (self.check)(case)
    }
}

/// Decides: where the logs are, or the first rule that fails.
pub fn decide<'a>(case: &Case<'a>) -> Result<Target<'a>, Skip> {
    RULES.iter().try_for_each(|rule| rule.check(case))?;
    let container = node_container(case).ok_or(Skip::NoNodeContainer)?;
    let mount = log_mount(case, container).ok_or(Skip::NoLogMount)?;
    Ok(Target { container, mount })
}

impl Skip {
    /// The reason as one stable word, for logs, metrics and the audit trail.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAPod => "not_a_pod",
            Self::Subresource => "subresource",
            Self::NotACreation => "not_a_creation",
            Self::NoObject => "no_object",
            Self::ReservedNamespace => "reserved_namespace",
            Self::NotRedisEnterprise => "not_redis_enterprise",
            Self::NoNodeContainer => "no_node_container",
            Self::NoLogMount => "no_log_mount",
            Self::LogMountTooWide => "log_mount_too_wide",
            Self::LogMountUnclear => "log_mount_unclear",
            Self::OptedOut => "opted_out",
            Self::InvalidOptIn => "invalid_opt_in",
            Self::MirrorPod => "mirror_pod",
            Self::WindowsPod => "windows_pod",
            Self::BeingDeleted => "being_deleted",
            Self::AlreadyInjected => "already_injected",
            Self::Drift => "drift",
            Self::NameTaken => "name_taken",
            Self::SteppedAside => "stepped_aside",
            Self::FuseBlown => "fuse_blown",
            Self::NoRoom => "no_room",
        }
    }

    /// The reason in a sentence, with what would change it.
    pub fn explanation(self, case: &Case<'_>) -> String {
        let matching = &case.config.matching;
        match self {
            Self::NotAPod => "the object is no core/v1 pod".to_owned(),
            Self::Subresource => "only a subresource of the pod is concerned".to_owned(),
            Self::NotACreation => "the pod is not being created".to_owned(),
            Self::NoObject => "the request holds no object".to_owned(),
            Self::ReservedNamespace => format!(
                "namespace {} is never injected, as are default, kube-*, openshift-* and {}",
                namespace(case).unwrap_or("(none)"),
                case.config.namespace
            ),
            Self::NotRedisEnterprise => {
                let wanted: Vec<_> = matching.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("the pod lacks one of the labels {}, {}", wanted.join(", "), matching.cluster_label)
            }
            Self::NoNodeContainer => format!("the pod has no container {}", matching.container),
            Self::NoLogMount => format!(
                "container {} has no volume mounted at {}, so its logs cannot be reached by a sidecar (is persistence off?)",
                matching.container, matching.log_dir
            ),
            Self::LogMountTooWide => format!(
                "the volume that covers {} is mounted over the log shipper's own {} too; mount it at {} itself",
                matching.log_dir,
                node_container(case).and_then(|of| covered_own_dir(case, of)).unwrap_or_default(),
                matching.log_dir
            ),
            Self::LogMountUnclear => format!(
                "the subPathExpr of the mount that covers {} names a variable that is not in the env of container {} (one of \
                 envFrom cannot be copied)",
                matching.log_dir, matching.container
            ),
            Self::OptedOut => format!("annotation {} says so", annotations::INJECT),
            Self::InvalidOptIn => format!(
                "annotation {}: {:?} is neither \"true\" nor \"false\", so the pod is not injected",
                annotations::INJECT,
                annotations::get(case.pod, annotations::INJECT).unwrap_or_default()
            ),
            Self::MirrorPod => "a kubelet made this pod from a file; its containers cannot be changed here".to_owned(),
            Self::WindowsPod => "the log shipper is a Linux program".to_owned(),
            Self::BeingDeleted => "the pod has a deletionTimestamp".to_owned(),
            Self::AlreadyInjected => "the log shipper is there already, as it would be added now".to_owned(),
            Self::Drift => format!(
                "drift: the container {SIDECAR} was added by another version or configuration of this webhook and is left \
                 alone; a new pod gets the new one"
            ),
            Self::NameTaken => format!(
                "the pod has a container {SIDECAR} of its own, so the log shipper is not added; rename that container"
            ),
            Self::SteppedAside => "the pod was refused with the log shipper, so it is left alone".to_owned(),
            Self::FuseBlown => "a log shipper in this namespace does not start, so new pods get none".to_owned(),
            Self::NoRoom => "a LimitRange of the namespace leaves no room for the log shipper".to_owned(),
        }
    }

    /// Whether the pod's owner should be told: they meant the pod to be injected, and it is not as they meant.
    pub fn is_worth_a_warning(self) -> bool {
        matches!(
            self,
            Self::NoLogMount
                | Self::LogMountTooWide
                | Self::LogMountUnclear
                | Self::InvalidOptIn
                | Self::Drift
                | Self::NameTaken
                | Self::SteppedAside
                | Self::FuseBlown
                | Self::NoRoom
        )
    }
}

/// Other containers that mount the log directory: if they ship logs, every line arrives twice.
pub fn other_readers<'a>(case: &Case<'a>, target: &Target<'a>) -> impl Iterator<Item = &'a str> {
    let (dir, volume, writer) = (&case.config.matching.log_dir, target.mount.get("name"), target.container);
    containers(case.pod, "containers")
        .filter(move |other| !std::ptr::eq(*other, writer) && name(other) != Some(SIDECAR))
        .filter(move |other| {
            mounts(other).any(|mount| mount.get("name") == volume && path(mount).is_some_and(|path| covers(path, dir)))
        })
        .filter_map(name)
}

fn namespace<'a>(case: &Case<'a>) -> Option<&'a str> {
    // The API server checked the namespace of the request; a forged object could name another one.
    case.namespace.or_else(|| text(case.pod, "/metadata/namespace"))
}

/// Some namespaces are never touched, whatever a selector says.
fn namespace_is_open(case: &Case<'_>) -> Result<(), Skip> {
    let reserved = namespace(case).is_some_and(|namespace| {
        namespace == "default"
            || namespace == case.config.namespace
            || namespace.starts_with("kube-")
            || namespace.starts_with("openshift-")
    });
    unless(reserved, Skip::ReservedNamespace)
}

fn is_redis_enterprise_node(case: &Case<'_>) -> Result<(), Skip> {
    let label = |key: &str| case.pod.pointer("/metadata/labels")?.get(key)?.as_str();
    let matching = &case.config.matching;
    let all = matching.labels.iter().all(|(key, value)| label(key) == Some(value.as_str()));
    unless(!all || label(&matching.cluster_label).is_none(), Skip::NotRedisEnterprise)
}

fn is_no_mirror_pod(case: &Case<'_>) -> Result<(), Skip> {
    unless(annotations::get(case.pod, "kubernetes.io/config.mirror").is_some(), Skip::MirrorPod)
}

fn is_linux(case: &Case<'_>) -> Result<(), Skip> {
    let windows = ["/spec/os/name", "/spec/nodeSelector/kubernetes.io~1os"]
        .iter()
        .any(|at| text(case.pod, at) == Some("windows"));
    unless(windows, Skip::WindowsPod)
}

fn is_not_being_deleted(case: &Case<'_>) -> Result<(), Skip> {
    unless(text(case.pod, "/metadata/deletionTimestamp").is_some(), Skip::BeingDeleted)
}

fn has_node_container(case: &Case<'_>) -> Result<(), Skip> {
    node_container(case).map(|_| ()).ok_or(Skip::NoNodeContainer)
}

fn does_not_opt_out(case: &Case<'_>) -> Result<(), Skip> {
    match annotations::wish(case.pod) {
        Wish::Inject => Ok(()),
        Wish::OptOut => Err(Skip::OptedOut),
        Wish::Unclear => Err(Skip::InvalidOptIn),
    }
}

fn has_log_mount(case: &Case<'_>) -> Result<(), Skip> {
    let container = node_container(case).ok_or(Skip::NoLogMount)?;
    let mount = log_mount(case, container).ok_or(Skip::NoLogMount)?;
    unless(covered_own_dir(case, container).is_some(), Skip::LogMountTooWide)?;
    let expression = mount.get("subPathExpr").and_then(Value::as_str).unwrap_or_default();
    unless(variables::copied(expression, container).is_err(), Skip::LogMountUnclear)
}

fn has_no_sidecar(case: &Case<'_>) -> Result<(), Skip> {
    let there = ["containers", "initContainers"]
        .into_iter()
        .any(|list| containers(case.pod, list).any(|container| name(container) == Some(SIDECAR)));
    if !there {
        return Ok(());
    }
    let hash = annotations::get(case.pod, annotations::HASH);
    if annotations::get(case.pod, annotations::STATUS) != Some(annotations::INJECTED) || hash.is_none() {
        return Err(Skip::NameTaken);
    }
    let container = node_container(case).ok_or(Skip::NoNodeContainer)?;
    let mount = log_mount(case, container).ok_or(Skip::NoLogMount)?;
    // Compared is what we would add now, not the container itself: other webhooks may have added to that.
    let now = additions(case, &Target { container, mount }, &mut Vec::new()).hash;
    Err(if hash == Some(now.as_str()) { Skip::AlreadyInjected } else { Skip::Drift })
}

fn node_container<'a>(case: &Case<'a>) -> Option<&'a Value> {
    let wanted = Some(case.config.matching.container.as_str());
    containers(case.pod, "containers").find(|container| name(container) == wanted)
}

/// The mount that covers the log directory: the one with the longest path, as the kubelet has it.
fn log_mount<'a>(case: &Case<'a>, container: &'a Value) -> Option<&'a Value> {
    mounts(container)
        .filter_map(|mount| Some((path(mount)?, mount)))
        .filter(|(path, mount)| {
            covers(path, &case.config.matching.log_dir) && mount.get("name").is_some_and(Value::is_string)
        })
        .max_by_key(|(path, _)| path.len())
        .map(|(_, mount)| mount)
}

/// The first directory of the sidecar's own that the log mount would lie over.
fn covered_own_dir(case: &Case<'_>, container: &Value) -> Option<&'static str> {
    let path = path(log_mount(case, container)?)?;
    OWN_DIRS.into_iter().find(|own| covers(path, own))
}

fn unless(fails: bool, skip: Skip) -> Result<(), Skip> {
    if fails { Err(skip) } else { Ok(()) }
}

/// Whether `dir` is `path` or lies below it.
fn covers(path: &str, dir: &str) -> bool {
    std::path::Path::new(dir).starts_with(path)
}

pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    array(pod.get("spec").and_then(|spec| spec.get(list)))
}

fn mounts(container: &Value) -> impl Iterator<Item = &Value> {
    array(container.get("volumeMounts"))
}

fn path(mount: &Value) -> Option<&str> {
    let path = mount.get("mountPath")?.as_str()?;
    let trimmed = path.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/" } else { trimmed })
}

fn name(container: &Value) -> Option<&str> {
    container.get("name")?.as_str()
}

fn text<'a>(pod: &'a Value, at: &str) -> Option<&'a str> {
    pod.pointer(at)?.as_str()
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
