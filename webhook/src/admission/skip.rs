//! The reasons to leave a pod as it is: one stable word for programs, one sentence for people.

use findings::Code;

use super::case::Case;
use super::pod::{INJECT, SIDECAR, annotation};

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

    /// The reason in a sentence, with the way to change it.
    pub fn explanation(self, case: &Case<'_>) -> String {
        let matching = &case.config.matching;
        match self {
            Self::NotAPod => "the object is not a core/v1 Pod".to_owned(),
            Self::Subresource => "the request is about a subresource of the pod".to_owned(),
            Self::NotACreation => "the request does not create the pod".to_owned(),
            Self::NoObject => "the request contains no object".to_owned(),
            Self::ReservedNamespace => format!(
                "namespace {} is reserved: the webhook never injects default, kube-*, openshift-* and {}",
                case.namespace().unwrap_or("(none)"),
                case.config.namespace
            ),
            Self::NotRedisEnterprise => {
                let wanted: Vec<_> = matching.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("the pod lacks one of the labels {}, {}", wanted.join(", "), matching.cluster_label)
            }
            Self::NoNodeContainer => format!("the pod has no container {}", matching.container),
            Self::NoLogMount => format!(
                "container {} has no volume mounted at {}, so a sidecar cannot reach its logs (is persistence off?)",
                matching.container, matching.log_dir
            ),
            Self::LogMountTooWide => format!(
                "the mount that covers {} would also cover the log shipper's own {}; mount the volume at {} itself",
                matching.log_dir,
                case.target().and_then(|target| target.covered_own_dir()).unwrap_or_default(),
                matching.log_dir
            ),
            Self::LogMountUnclear => format!(
                "the subPathExpr of the mount that covers {} names a variable that is not in the env of container {} \
                 (variables of envFrom cannot be copied)",
                matching.log_dir, matching.container
            ),
            Self::OptedOut => format!("annotation {INJECT} opts out"),
            Self::InvalidOptIn => format!(
                "annotation {}: invalid value {:?}: expected \"true\" or \"false\"; the pod is not injected",
                INJECT,
                annotation(case.pod, INJECT).unwrap_or_default()
            ),
            Self::MirrorPod => {
                "the pod mirrors a static pod of a kubelet, whose containers cannot be changed here".to_owned()
            }
            Self::WindowsPod => "the log shipper is a Linux program".to_owned(),
            Self::BeingDeleted => "the pod has a deletionTimestamp".to_owned(),
            Self::AlreadyInjected => "the pod already has the current log shipper".to_owned(),
            Self::Drift => format!(
                "drift: another version or configuration of this webhook added the container {SIDECAR}; it stays as \
                 it is, and a new pod gets the new one"
            ),
            Self::NameTaken => format!(
                "the pod has its own container {SIDECAR}, so the log shipper is not added; rename that container"
            ),
            Self::SteppedAside => "the pod was refused with the log shipper, so it gets none".to_owned(),
            Self::FuseBlown => "a log shipper in this namespace does not start, so new pods get none".to_owned(),
            Self::NoRoom => "a LimitRange of the namespace leaves no room for the log shipper".to_owned(),
        }
    }

    /// The finding that this reason is; `None` if the pod is rightly left alone.
    pub fn code(self) -> Option<Code> {
        match self {
            Self::ReservedNamespace => Some(Code::ReservedNamespace),
            Self::NoLogMount | Self::LogMountTooWide | Self::LogMountUnclear => Some(Code::NoLogMount),
            Self::InvalidOptIn => Some(Code::InvalidAnnotation),
            Self::Drift => Some(Code::Drift),
            Self::NameTaken => Some(Code::NameTaken),
            Self::SteppedAside => Some(Code::SteppedAside),
            Self::FuseBlown => Some(Code::FuseBlown),
            Self::NoRoom => Some(Code::NoRoom),
            Self::NotAPod
            | Self::Subresource
            | Self::NotACreation
            | Self::NoObject
            | Self::NotRedisEnterprise
            | Self::NoNodeContainer
            | Self::OptedOut
            | Self::MirrorPod
            | Self::WindowsPod
            | Self::BeingDeleted
            | Self::AlreadyInjected => None,
        }
    }

    /// Whether the pod's owner should be told: they wanted the pod to be injected, and it is not.
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
