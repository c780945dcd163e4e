//! What the pod's own annotations say: opt out, and overrides of the configuration.

use serde_json::Value;

/// The prefix of every annotation and label of ours.
pub const PREFIX: &str = "redis-log-shipper.io/";
/// On the pod: `"false"` opts out.
pub const INJECT: &str = "redis-log-shipper.io/inject";
/// Comma-separated glob patterns of the files to ship.
pub const INCLUDE: &str = "redis-log-shipper.io/include";
/// Comma-separated glob patterns of the files to leave out.
pub const EXCLUDE: &str = "redis-log-shipper.io/exclude";
/// The outcome, written by us: `injected`.
pub const STATUS: &str = "redis-log-shipper.io/status";
/// Tells one generation of our additions from another.
pub const HASH: &str = "redis-log-shipper.io/hash";

/// Whether the pod wants to be injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// It says nothing, or `true`.
    Inject,
    /// `false`.
    OptOut,
    /// Something else, quoted.
    Unclear(String),
}

/// What [`INJECT`] says.
pub(super) fn wish(pod: &Value) -> Wish {
    match get(pod, INJECT) {
        None => Wish::Inject,
        Some(value) => match value.trim().to_ascii_lowercase().as_str() {
            "true" | "enabled" | "" => Wish::Inject,
            "false" | "disabled" => Wish::OptOut,
            _ => Wish::Unclear(value.to_owned()),
        },
    }
}

/// The patterns in a comma-separated annotation, or `None` where it is absent or names none.
pub(super) fn patterns(pod: &Value, annotation: &str) -> Option<Vec<String>> {
    let patterns: Vec<String> = get(pod, annotation)?
        .split(',')
        .map(str::trim)
        .filter(|pattern| !pattern.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    (!patterns.is_empty()).then_some(patterns)
}

/// One annotation of a pod.
pub(super) fn get<'a>(pod: &'a Value, annotation: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(annotation)?.as_str()
}
