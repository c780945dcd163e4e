//! From the bytes of an `AdmissionReview` to the answer, without any I/O.
//!
//! ```text
//! review      the wire types: what the API server sends and expects back
//! outline     the part of a pod that admission reads
//! request     the creation of a pod, or a reason to skip
//! annotations the pod's own overrides of the configuration
//! decision    the rules: inject, or skip for a named reason (skip)
//! additions   the container, the volumes and the annotations that a pod is given
//!             (arguments, variables, security_context)
//! presence    injected already, drift, or the name is taken
//! patch       add-only RFC 6902, tried on the object before it is answered
//! response    verdict -> answer
//!
//! pusher            who pushes to which tenant
//! case, pod, names  a pod with its configuration; accessors and our names; names that Kubernetes allows
//! surroundings      what the cluster knows about the pod: limits, attempts (stepping aside), fuse
//! ```
//!
//! The object stays a JSON value from end to end. A typed pod would lose the fields it does not know, and the patch would
//! remove them from the user's pod.

pub mod additions;
pub mod annotations;
mod arguments;
pub mod attempts;
pub mod case;
pub mod decision;
pub mod fuse;
pub mod limits;
pub mod names;
pub mod outline;
pub mod patch;
pub mod pod;
pub mod presence;
pub mod pusher;
mod request;
mod response;
pub mod review;
mod security_context;
pub mod skip;
pub mod surroundings;
mod variables;
mod verdict;
mod warning;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::config::Config;
use case::Case;
use presence::Presence;
use pusher::Pusher;
use request::Request;
pub use response::Answer;
use review::{AdmissionReview, BadReview};
use skip::Skip;
use surroundings::{Hold, Identity, Surroundings};
pub use verdict::{Judged, MOST_WARNINGS, Verdict};
pub use warning::Warning;

/// Answers one `AdmissionReview`. A body that is no review is an error. Every review is allowed.
pub fn review(body: &[u8], config: &Config) -> Result<Answer, BadReview> {
    review_within(body, config, || true)
}

/// Like [`fn@review`], with a deadline: the pod is left as it is if `in_time` is false when the body is parsed, or after any
/// later stage. The API server ignores a late answer.
pub fn review_within(body: &[u8], config: &Config, in_time: impl Fn() -> bool) -> Result<Answer, BadReview> {
    review_among(body, config, in_time, |_, _| Surroundings::default())
}

/// Like [`review_within`], with what the cluster knows: `known` gets the pod's namespace and identity.
pub fn review_among(
    body: &[u8],
    config: &Config,
    in_time: impl Fn() -> bool,
    known: impl FnOnce(Option<&str>, Option<&Identity>) -> Surroundings,
) -> Result<Answer, BadReview> {
    let review = AdmissionReview::parse(body)?;
    let request = Request::of(&review.request);
    if request.is_ok() {
        review.request.check_names()?;
    }
    let judged = match request {
        Ok(_) if !in_time() => Judged::late(),
        Ok(request) => contained(|| {
            let identity = Identity::of(request.pod, request.namespace);
            let known = known(request.namespace, identity.as_ref());
            judge_within(request.pod, request.namespace, config, &known, &in_time).unwrap_or_else(Judged::late)
        }),
        Err(skip) => Judged::skipped(skip),
    };
    Ok(Answer::new(review, judged))
}

/// Judges one pod of `namespace`, and makes and tries its patch.
pub fn judge(pod: &Value, namespace: Option<&str>, config: &Config) -> Judged {
    judge_among(pod, namespace, config, &Surroundings::default())
}

/// Like [`judge`], with what the cluster knows.
pub fn judge_among(pod: &Value, namespace: Option<&str>, config: &Config, known: &Surroundings) -> Judged {
    judge_within(pod, namespace, config, known, &|| true).unwrap_or_else(Judged::late)
}

/// Like [`judge_among`]; `None` as soon as a stage ends after the deadline.
fn judge_within(
    pod: &Value,
    namespace: Option<&str>,
    config: &Config,
    known: &Surroundings,
    in_time: &dyn Fn() -> bool,
) -> Option<Judged> {
    let annotations::Overridden { mut config, mut warnings } = annotations::overridden(pod, config);
    let fitted = known.limits.as_ref().map(|limits| limits::fit(limits, pod, &config.resources)).transpose();
    let hold = match fitted {
        Ok(Some(fitted)) if fitted != config.resources => {
            config.to_mut().resources = fitted;
            known.hold.clone()
        }
        Ok(_) => known.hold.clone(),
        Err(text) => Some(Hold { skip: Skip::NoRoom, text }),
    };
    let case = Case { pod, namespace, config: &config, native_sidecars: known.native_sidecars };
    let target = match decision::decide(&case) {
        Ok(target) => target,
        Err(skip) => return Some(Judged::left_alone(skip, &case)),
    };
    in_time().then_some(())?;
    let additions = additions::additions(&case, &target);
    in_time().then_some(())?;
    if let Err(skip) = Presence::of(pod, Some(&additions)).check() {
        return Some(Judged::left_alone(skip, &case));
    }
    if let Some(Hold { skip, text }) = hold {
        return Some(Judged { warnings: vec![Warning::new(skip.code(), text)], ..Judged::skipped(skip) });
    }
    warnings.extend(decision::other_readers(&case, &target).take(MOST_WARNINGS).map(|name| {
        format!("container {name} also mounts the log directory: if it ships logs, every line arrives twice").into()
    }));
    warnings.extend(additions.warnings.iter().cloned().map(Warning::from));
    let patch = patch::patch(pod, additions);
    let (verdict, pusher) = match patch::applies(pod, &patch) {
        Ok(()) => (Verdict::Injected(patch), Pusher::of(pod, namespace, &config)),
        Err(error) => (Verdict::Failed(format!("failed to apply the patch: {error}")), None),
    };
    in_time().then_some(Judged { verdict, warnings, pusher })
}

/// Turns a panic of `judge` into a verdict: our bug must not keep a database pod from being created.
fn contained(judge: impl FnOnce() -> Judged) -> Judged {
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Verdict::Panicked(said).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_pod_alone_whichever_stage_ends_after_the_deadline() {
        let pod = serde_json::json!({
            "metadata": {
                "name": "rec-0",
                "labels": {"app": "redis-enterprise", "redis.io/role": "node", "redis.io/cluster": "rec"},
            },
            "spec": {
                "containers": [{
                    "name": "redis-enterprise-node",
                    "volumeMounts": [{"name": "logs", "mountPath": "/var/opt/redislabs/log"}],
                }],
                "volumes": [{"name": "logs", "emptyDir": {}}],
            },
        });
        let request = serde_json::json!({
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "redis", "operation": "CREATE", "object": pod,
        });
        let kind = "AdmissionReview";
        let review = serde_json::json!({"apiVersion": "admission.k8s.io/v1", "kind": kind, "request": request});
        let outcome = |stages: u32| {
            let asked = std::cell::Cell::new(0);
            let in_time = || asked.replace(asked.get() + 1) < stages;
            review_within(review.to_string().as_bytes(), &Config::default(), in_time).unwrap().verdict.outcome()
        };
        assert_eq!([0, 1, 2, 3].map(outcome), ["failed"; 4]);
        assert_eq!(outcome(4), "injected");
    }

    #[test]
    fn a_panic_becomes_a_verdict() {
        let judged = contained(|| panic!("a bug of {}", "ours"));
        assert!(matches!(&judged.verdict, Verdict::Panicked(said) if said == "a bug of ours"));
        let body = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u-1"}}"#;
        let response = Answer::new(AdmissionReview::parse(body).unwrap(), judged).response;
        assert!(response.allowed && response.patch.is_none() && response.patch_type.is_none());
        assert_eq!((response.uid.as_str(), response.audit_annotations["outcome"].as_str()), ("u-1", "panicked"));
        assert!(response.warnings[0].contains("internal error"), "{:?}", response.warnings);
    }
}
