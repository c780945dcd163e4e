//! Whether an object has a sidecar already, and whether it is the one that would be added now.
//!
//! What would be added now is compared with what was added then. The container itself is not compared: other webhooks may
//! have changed it since.

use serde_json::Value;

use super::additions::{Additions, additions};
use super::case::Case;
use super::pod::{HASH, INJECTED, SIDECAR, STATUS, annotation, name, spec_items};
use super::skip::Skip;

/// The rule in words, beside those in [`super::decision::RULES`].
pub const RULE: &str = "it has no container log-shipper yet";

/// What an object says about a container of the sidecar's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// There is none.
    Absent,
    /// We added it, and would add the same now.
    Current,
    /// We added it, in another version or with another configuration.
    Outdated,
    /// Somebody else added it.
    Foreign,
}

impl Presence {
    /// The presence in a pod that would be given `additions` now; `None` where nothing can be added.
    pub(super) fn of(pod: &Value, additions: Option<&Additions>) -> Self {
        if !["containers", "initContainers"].into_iter().any(|list| has_sidecar(pod, list)) {
            return Self::Absent;
        }
        match hash(pod) {
            None => Self::Foreign,
            Some(hash) if additions.is_some_and(|additions| additions.hash == hash) => Self::Current,
            Some(_) => Self::Outdated,
        }
    }

    /// The reason to leave the object alone.
    pub(crate) fn check(self) -> Result<(), Skip> {
        match self {
            Self::Absent => Ok(()),
            Self::Current => Err(Skip::AlreadyInjected),
            Self::Outdated => Err(Skip::Drift),
            Self::Foreign => Err(Skip::NameTaken),
        }
    }
}

/// Checks the presence in a pod that an earlier rule may have ruled out.
pub(crate) fn check(case: &Case<'_>) -> Result<(), Skip> {
    let additions = case.target().map(|target| additions(case, &target));
    Presence::of(case.pod, additions.as_ref()).check()
}

/// The hash of what admission added to a pod; `None` where it added nothing.
pub(crate) fn hash(pod: &Value) -> Option<&str> {
    annotation(pod, HASH).filter(|_| annotation(pod, STATUS) == Some(INJECTED))
}

fn has_sidecar(pod: &Value, list: &str) -> bool {
    spec_items(pod, list).any(|container| name(container) == Some(SIDECAR))
}
