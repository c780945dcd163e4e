//! What the cluster knows that bears on one pod, as a value: limits of its namespace, and a reason to leave the pod alone.
//!
//! Who finds it out is `cluster/`; without an API server nothing is known, and every pod is judged by itself.

use std::sync::Arc;

use serde_json::Value;

use super::limits::Limit;
use super::pod::{owner, text};
use super::skip::Skip;

/// Tells the reviews of one pod from those of others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The namespace of the request.
    pub namespace: String,
    /// The pod in it.
    pub who: Who,
}

/// A pod, before it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// By its name, as a StatefulSet gives it.
    Pod(String),
    /// By the UID of its owner, where the API server still has to make a name.
    Owner(String),
}

/// What is known. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Whether the API server supports native sidecars.
    pub native_sidecars: Option<bool>,
    /// What LimitRanges of the namespace allow.
    pub limits: Option<Arc<[Limit]>>,
    /// Why the pod is left alone although it would be injected.
    pub hold: Option<Hold>,
}

/// A reason to leave a pod alone, with its words for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The reason.
    pub skip: Skip,
    /// What happened, and what to change.
    pub text: String,
}

impl Identity {
    /// The identity of a pod, if it has one: a pod without a name and without an owner has none.
    pub fn of(pod: &Value, namespace: Option<&str>) -> Option<Self> {
        let text = |at: &str| text(pod, at).filter(|text| !text.is_empty());
        let namespace = namespace.or_else(|| text("/metadata/namespace"))?.to_owned();
        let by_owner = || owner(pod)?.get("uid")?.as_str().map(|uid| Who::Owner(uid.to_owned()));
        let who = text("/metadata/name").map(|name| Who::Pod(name.to_owned())).or_else(by_owner)?;
        Some(Self { namespace, who })
    }
}
