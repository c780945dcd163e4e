//! The verdict on one pod.

use super::case::Case;
use super::pusher::Pusher;
use super::skip::Skip;
use super::warning::Warning;

/// The limit for the warnings in an answer. The API server passes 4096 characters on, which is 16 of the longest warnings.
pub const MOST_WARNINGS: usize = 16;

/// The outcome for one object.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The pod is given the sidecar, by these operations.
    Injected(json_patch::Patch),
    /// The pod is left as it is, for this reason.
    Skipped(Skip),
    /// The webhook failed. The pod is left as it is: our fault must not keep it from being created.
    Failed(String),
    /// The webhook panicked. The pod is left as it is; metrics count a panic apart from other failures.
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

/// The verdict on one pod, with warnings for its owner.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Sentences for the user who created the pod.
    pub warnings: Vec<Warning>,
    /// Who will push, if the pod is given a sidecar that pushes to a gateway.
    pub pusher: Option<Pusher>,
}

impl Judged {
    /// The pod is left alone. The owner is warned if they meant it to be injected; warnings about a sidecar that is not added
    /// are dropped.
    pub(super) fn left_alone(skip: Skip, case: &Case<'_>) -> Self {
        let warning = || Warning::new(skip.code(), skip.explanation(case));
        let warnings = skip.is_worth_a_warning().then(warning).into_iter().collect();
        Self { verdict: Verdict::Skipped(skip), warnings, pusher: None }
    }

    pub(super) fn skipped(skip: Skip) -> Self {
        Verdict::Skipped(skip).into()
    }

    pub(super) fn late() -> Self {
        Verdict::Failed("the API server's deadline was too close".to_owned()).into()
    }
}

impl From<Verdict> for Judged {
    /// The verdict without warnings.
    fn from(verdict: Verdict) -> Self {
        Self { verdict, warnings: Vec::new(), pusher: None }
    }
}
