//! What the cluster knows about one pod, as a value: limits of its namespace, and reasons to leave the pod alone.
//!
//! `cluster/` collects it. Without an API server nothing is known, and every pod is judged by itself.

use std::sync::Arc;

use serde_json::Value;

use super::limits::Limit;
use super::pod::{owner, text};
use super::skip::Skip;

/// Identifies the reviews of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The namespace of the request.
    pub namespace: String,
    /// The pod in it.
    pub who: Who,
}

/// A pod before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// Its name, which a StatefulSet chooses.
    Pod(String),
    /// The UID of its owner, if the API server still has to generate a name.
    Owner(String),
}

/// What is known. By default nothing is.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether the API server supports native sidecars.
    pub native_sidecars: Option<bool>,
    /// The limits that LimitRanges set in the namespace.
    pub limits: Option<Arc<[Limit]>>,
    /// A reason to leave the pod alone even if the rules allow injection.
    pub hold: Option<Hold>,
}

/// A reason to leave a pod alone, with a message for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The reason.
    pub skip: Skip,
    /// What happened, and how to fix it.
    pub text: String,
}

impl Identity {
    /// The identity of a pod; `None` for a pod without a name and without an owner.
    pub fn of(pod: &Value, namespace: Option<&str>) -> Option<Self> {
        let text = |at: &str| text(pod, at).filter(|text| !text.is_empty());
        let namespace = namespace.or_else(|| text("/metadata/namespace"))?.to_owned();
        let by_owner = || owner(pod)?.get("uid")?.as_str().map(|uid| Who::Owner(uid.to_owned()));
        let who = text("/metadata/name").map(|name| Who::Pod(name.to_owned())).or_else(by_owner)?;
        Some(Self { namespace, who })
    }
}
