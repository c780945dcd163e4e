//! Which pods are restarted, in which order, and why.

use std::cmp::Reverse;

use findings::Finding;

use super::member::Member;
use super::trial::Trial;
use crate::admission::skip::Skip;
use crate::admission::{Judged, Verdict};

/// What is done with a pod, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It is restarted.
    Restart(String),
    /// It is left as it is.
    Keep(String),
}

/// One pod with its need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The pod.
    pub(crate) member: Member,
    /// What is done with it.
    pub(crate) need: Need,
}

/// Every pod, in the order in which they are restarted.
///
/// One cluster after another. Within a cluster the highest ordinal comes first, as in a rolling update of a StatefulSet, and
/// the master node comes last: so the cluster elects a new master only once.
pub(crate) fn ordered(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by(|one, other| {
        let key = |member: &Member| (member.cluster.clone(), member.is_master, Reverse(member.ordinal));
        key(&one.member).cmp(&key(&other.member)).then_with(|| one.member.name.cmp(&other.member.name))
    });
    steps
}

/// What is done with a pod. `judged` is the decision about the existing pod, `trial` what a new one would get.
pub(crate) fn need(member: &Member, judged: &Judged, trial: &Trial, drift: bool) -> Need {
    let keep = |why: &str| Need::Keep(why.to_owned());
    if member.stateful_set().is_none() {
        return Need::Keep(match &member.owner {
            None => "it has no controller, so nobody would create it again".to_owned(),
            Some((kind, name)) => {
                format!("{kind} {name} controls it, and only a StatefulSet creates the same pod again")
            }
        });
    }
    match &judged.verdict {
        Verdict::Injected(_) => Need::Restart("it has no sidecar".to_owned()),
        Verdict::Skipped(Skip::AlreadyInjected | Skip::Drift) => match (&member.hash, trial) {
            (Some(old), Trial::Injected(new)) if old == new => keep("it has the current sidecar"),
            (_, Trial::Injected(_)) if drift => {
                Need::Restart("its sidecar is of another version or configuration (RLS208)".to_owned())
            }
            (_, Trial::Injected(_)) => {
                keep("its sidecar is of another version or configuration (RLS208); --drift restarts it")
            }
            (_, Trial::Bare) => keep("it has a sidecar, and a new pod would have none"),
            (_, Trial::Refused(_)) => keep("it has a sidecar, which was not compared with a new one"),
        },
        Verdict::Skipped(Skip::BeingDeleted) => keep("it is being deleted already"),
        Verdict::Skipped(skip) => {
            let said = judged.warnings.first().cloned();
            let why = said.map_or_else(|| skip.reason().replace('_', " "), |said| said.with_code());
            Need::Keep(format!("a restart would add no sidecar: {why}"))
        }
        Verdict::Failed(error) | Verdict::Panicked(error) => Need::Keep(format!("this program failed: {error}")),
    }
}

/// The plan, one line a pod.
pub(crate) fn words(namespace: &str, plan: &[Step]) -> String {
    let restarts = plan.iter().filter(|step| matches!(step.need, Need::Restart(_))).count();
    let lines = plan.iter().map(|Step { member, need }| {
        let (word, why) = match need {
            Need::Restart(why) => ("restart", why),
            Need::Keep(why) => ("keep", why),
        };
        format!("  {word:7}  {}: {why}\n", member.name)
    });
    let heading =
        format!("{namespace}: {restarts} of {} Redis Enterprise pods to restart, in this order:\n", plan.len());
    heading + &lines.collect::<String>()
}

/// The last line.
pub(crate) fn done(namespace: &str, restarted: usize) -> String {
    format!("restarted {restarted} pods of {namespace}\n")
}

/// Why nothing more is restarted.
pub(crate) fn stopped(finding: &Finding) -> String {
    format!("stopped: {}: {}\nfix: {}\nsee: {}", finding.code, finding.problem, finding.fix, finding.url())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str, cluster: &str, is_master: bool) -> Member {
        Member {
            name: name.to_owned(),
            uid: name.to_owned(),
            cluster: cluster.to_owned(),
            ordinal: name.rsplit('-').next().unwrap().parse().unwrap(),
            is_master,
            owner: Some(("StatefulSet".to_owned(), cluster.to_owned())),
            not_ready: None,
            hash: Some("old".to_owned()),
            created: None,
            failing: None,
        }
    }

    fn judged(verdict: Verdict) -> Judged {
        Judged { verdict, warnings: Vec::new(), pusher: None }
    }

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.member.name.as_str()).collect()
    }

    fn step(member: Member) -> Step {
        Step { member, need: Need::Keep(String::new()) }
    }

    #[test]
    fn restarts_the_highest_ordinal_first_and_the_master_last() {
        let members = [("a-2", "a", false), ("a-10", "a", true), ("b-0", "b", false), ("a-9", "a", false)];
        let steps = members.map(|(name, cluster, is_master)| step(member(name, cluster, is_master)));
        assert_eq!(names(&ordered(steps.to_vec())), ["a-9", "a-2", "a-10", "b-0"]);
    }

    #[test]
    fn restarts_a_pod_without_a_sidecar() {
        let absent = judged(Verdict::Injected(json_patch::Patch::default()));
        let new = Trial::Injected("new".to_owned());
        assert!(matches!(need(&member("a-0", "a", false), &absent, &new, false), Need::Restart(_)));
    }

    #[test]
    fn restarts_another_version_only_where_that_is_asked_for_and_known() {
        let rec = member("a-0", "a", false);
        let present = judged(Verdict::Skipped(Skip::Drift));
        let of = |hash: &str| Trial::Injected(hash.to_owned());
        let said = |trial: Trial, drift: bool| match need(&rec, &present, &trial, drift) {
            Need::Restart(why) => format!("restart: {why}"),
            Need::Keep(why) => why,
        };
        assert!(said(of("new"), true).starts_with("restart: its sidecar is of another version"));
        assert!(said(of("new"), false).ends_with("--drift restarts it"));
        assert_eq!(said(of("old"), true), "it has the current sidecar");
        assert!(!said(Trial::Bare, true).starts_with("restart"));
        assert!(!said(Trial::Refused(String::new()), true).starts_with("restart"));
    }

    #[test]
    fn leaves_alone_a_pod_that_would_be_gone_or_would_gain_nothing() {
        let new = Trial::Injected("new".to_owned());
        let absent = judged(Verdict::Injected(json_patch::Patch::default()));
        let mut bare = member("a-0", "a", false);
        bare.owner = None;
        let Need::Keep(why) = need(&bare, &absent, &new, true) else { panic!("it would be gone") };
        assert!(why.contains("nobody would create it again"), "{why}");
        bare.owner = Some(("Job".to_owned(), "x".to_owned()));
        assert!(matches!(need(&bare, &absent, &new, true), Need::Keep(_)));
        for skip in [Skip::OptedOut, Skip::NoLogMount, Skip::NameTaken, Skip::BeingDeleted, Skip::NoNodeContainer] {
            let need = need(&member("a-0", "a", false), &judged(Verdict::Skipped(skip)), &new, true);
            assert!(matches!(need, Need::Keep(_)), "{skip:?}");
        }
    }

    proptest! {
        #[test]
        fn every_pod_has_one_place_and_no_master_comes_before_another_pod_of_its_cluster(
            pods in prop::collection::vec((0_u32..4, 0_u32..20, any::<bool>()), 0..30)
        ) {
            let steps: Vec<_> = pods.iter().map(|(cluster, ordinal, is_master)| {
                step(member(&format!("c{cluster}-{ordinal}"), &format!("c{cluster}"), *is_master))
            }).collect();
            let sorted = ordered(steps.clone());
            let (mut before, mut after) = (names(&steps), names(&sorted));
            before.sort_unstable();
            after.sort_unstable();
            prop_assert_eq!(before, after);
            for pair in sorted.windows(2) {
                let (one, next) = (&pair[0].member, &pair[1].member);
                prop_assert!(one.cluster <= next.cluster);
                if one.cluster == next.cluster {
                    prop_assert!(one.is_master <= next.is_master);
                    prop_assert!(one.is_master != next.is_master || one.ordinal >= next.ordinal);
                }
            }
        }
    }
}
