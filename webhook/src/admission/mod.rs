//! From the bytes of an `AdmissionReview` to the answer, without any I/O.
//!
//! ```text
//! review      the wire types: what the API server sends and wants back
//! outline     of the pod in it, what admission looks at
//! request     what was asked, of which pod
//! names       whether its names can be
//! decision    inject, or a named reason to skip
//! additions   the container, the volumes and the annotations a pod is given
//! arguments   what the container is told
//! patch       add-only RFC 6902, tried on the object before it is answered
//! response    verdict -> answer
//!
//! surroundings  what the cluster knows that bears on it: limits, attempts (stepping aside), fuse
//! ```
//!
//! The object stays a JSON value from end to end. A typed pod would lose the fields it does not know, and the patch
//! would take them away from the user.

pub mod additions;
pub mod annotations;
mod arguments;
pub mod attempts;
pub mod decision;
pub mod fuse;
pub mod limits;
pub mod names;
pub mod outline;
pub mod patch;
mod request;
mod response;
pub mod review;
mod security_context;
pub mod surroundings;
mod variables;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::config::Config;
use decision::{Case, Skip};
use request::Request;
pub use response::Answer;
use review::{AdmissionReview, BadReview};
use surroundings::{Hold, Identity, Surroundings};

/// How many warnings an answer holds. The API server passes 4096 characters on, which is 16 of the longest.
pub const MOST_WARNINGS: usize = 16;

/// What became of one object.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The pod is given the sidecar, by these operations.
    Injected(json_patch::Patch),
    /// The pod is left as it is, for this reason.
    Skipped(Skip),
    /// We could not do our work, and the pod is left as it is: it must not pay for that.
    Failed(String),
    /// We panicked, which is the same to the pod and worse for us.
    Panicked(String),
}

impl Verdict {
    /// One word for logs, metrics and the audit trail: `injected`, `failed`, `panicked`, or the reason to skip.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::Skipped(skip) => skip.reason(),
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
        }
    }
}

/// The verdict on one pod, with what its owner should be told.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What became of it.
    pub verdict: Verdict,
    /// Sentences for whoever created the pod.
    pub warnings: Vec<String>,
}

/// Answers one `AdmissionReview`. Only what is no review at all is an error; everything else is allowed.
pub fn review(body: &[u8], config: &Config) -> Result<Answer, BadReview> {
    review_within(body, config, || true)
}

/// As [`fn@review`], with the pod left as it is where there is no time left once the body is read, or after any stage of the
/// work: an answer that comes too late is no answer.
pub fn review_within(body: &[u8], config: &Config, in_time: impl Fn() -> bool) -> Result<Answer, BadReview> {
    review_among(body, config, in_time, |_, _| Surroundings::default())
}

/// As [`review_within`], in the surroundings that `known` tells of the pod's namespace and identity.
pub fn review_among(
    body: &[u8],
    config: &Config,
    in_time: impl Fn() -> bool,
    known: impl FnOnce(Option<&str>, Option<&Identity>) -> Surroundings,
) -> Result<Answer, BadReview> {
    let review = AdmissionReview::parse(body)?;
    let request = Request::of(&review.request);
    if request.is_ok() {
        names::check(&review.request)?;
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

/// Decides about one pod of `namespace`, and makes and tries the patch.
pub fn judge(pod: &Value, namespace: Option<&str>, config: &Config) -> Judged {
    judge_among(pod, namespace, config, &Surroundings::default())
}

/// As [`judge`], with what the cluster knows.
pub fn judge_among(pod: &Value, namespace: Option<&str>, config: &Config, known: &Surroundings) -> Judged {
    judge_within(pod, namespace, config, known, &|| true).unwrap_or_else(Judged::late)
}

/// As [`judge_among`]; `None` as soon as a stage ends after the deadline.
fn judge_within(
    pod: &Value,
    namespace: Option<&str>,
    config: &Config,
    known: &Surroundings,
    in_time: &dyn Fn() -> bool,
) -> Option<Judged> {
    let mut warnings = Vec::new();
    let mut config = annotations::overridden(pod, config, &mut warnings);
    let fitted = known.limits.as_ref().map(|limits| limits::fit(limits, pod, &config.resources)).transpose();
    let hold = match fitted {
        Ok(Some(fitted)) if fitted != config.resources => {
            config.to_mut().resources = fitted;
            known.hold.clone()
        }
        Ok(_) => known.hold.clone(),
        Err(text) => Some(Hold { skip: Skip::NoRoom, text }),
    };
    let case = Case { pod, namespace, config: &config };
    let target = match decision::decide(&case) {
        Ok(target) => target,
        Err(skip) => {
            // Overrides of a sidecar that is not added are nobody's worry.
            let warnings = skip.is_worth_a_warning().then(|| skip.explanation(&case)).into_iter().collect();
            return Some(Judged { verdict: Verdict::Skipped(skip), warnings });
        }
    };
    if let Some(Hold { skip, text }) = hold {
        return Some(Judged { verdict: Verdict::Skipped(skip), warnings: vec![text] });
    }
    in_time().then_some(())?;
    warnings.extend(decision::other_readers(&case, &target).take(MOST_WARNINGS).map(|name| {
        format!("container {name} also mounts the log directory: if it ships logs, every line arrives twice")
    }));
    let additions = additions::additions(&case, &target, &mut warnings);
    in_time().then_some(())?;
    let patch = patch::patch(pod, additions);
    let verdict = match patch::applies(pod, &patch) {
        Ok(()) => Verdict::Injected(patch),
        Err(error) => Verdict::Failed(format!("the patch does not apply: {error}")),
    };
    in_time().then_some(Judged { verdict, warnings })
}

/// What `judge` says, with a panic turned into a verdict: a bug of ours must not keep a database pod from being created.
fn contained(judge: impl FnOnce() -> Judged) -> Judged {
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Judged { verdict: Verdict::Panicked(said), warnings: Vec::new() }
    })
}

impl Judged {
    fn skipped(skip: Skip) -> Self {
        Self { verdict: Verdict::Skipped(skip), warnings: Vec::new() }
    }

    fn late() -> Self {
        Self { verdict: Verdict::Failed("the API server's deadline was too near".to_owned()), warnings: Vec::new() }
    }
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
    fn a_panic_is_a_verdict_and_not_the_end() {
        let judged = contained(|| panic!("a bug of {}", "ours"));
        assert!(matches!(&judged.verdict, Verdict::Panicked(said) if said == "a bug of ours"));
        let body = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u-1"}}"#;
        let response = Answer::new(AdmissionReview::parse(body).unwrap(), judged).response;
        assert!(response.allowed && response.patch.is_none() && response.patch_type.is_none());
        assert_eq!((response.uid.as_str(), response.audit_annotations["outcome"].as_str()), ("u-1", "panicked"));
        assert!(response.warnings[0].contains("internal error"), "{:?}", response.warnings);
    }
}
