//! Stepping aside: records which pods were refused after they were given a sidecar, and decides about their next attempt.
//!
//! ```text
//! (none) ── injected ──► Injected ── the watch or a list shows the pod ──► (none)
//!                           │ no pod after GRACE
//!                           ▼
//!                         Aside ── an hour, another configuration, a pod with a sidecar ──► (none)
//!                           │ ▲
//!                 left alone│ │the watch shows the pod: the sidecar was the reason
//!                           ▼ │
//!                         Tried ── the next review after GRACE: refused without it too, so not our fault ──► (none)
//! ```
//!
//! A second review alone proves nothing: the API server may send two within one request, and controllers retry. What counts
//! is that the pod does not exist. Each replica knows only its own reviews, so a pod may be refused once per replica.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::surroundings::{Identity, Who};
use crate::config::Config;

/// How long a pod may take from our answer until the watch shows it. If the watch shows the pod later, the entry is
/// corrected.
pub const GRACE: Duration = Duration::from_secs(2);
/// A sidecar is tried again after this time.
pub const AGAIN: Duration = Duration::from_hours(1);
/// The largest difference, in seconds, between the clocks of the API server and of this process.
const SKEW: i64 = 10;
/// The limit for remembered pods. Each takes less than 2 KiB.
const MOST: usize = 1024;

/// What is known about pods that do not exist yet.
#[derive(Debug, Default)]
pub struct Attempts {
    entries: HashMap<Identity, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    since: Instant,
    /// The time of the answer, in seconds of the wall clock.
    second: i64,
    config: Arc<Config>,
    owner: Option<Value>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Given a sidecar; the pod does not exist yet.
    Injected,
    /// Refused with a sidecar, for this reason.
    Aside { why: String, tried: Tried },
}

/// The attempt without a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    NotYet,
    At(Instant),
    /// The pod exists without a sidecar, so the sidecar was the reason.
    Proven,
}

/// An attempt whose pod should exist by now.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The pod.
    pub identity: Identity,
    /// The pod's reference to its owner.
    pub owner: Option<Value>,
    /// Pods that the owner created before this second of the wall clock belong to earlier attempts.
    pub since: i64,
}

impl Attempts {
    /// Why the pod is left alone, if it is. Changes nothing, because a dry run asks too.
    pub fn hold(&self, identity: &Identity, config: &Arc<Config>, now: Instant) -> Option<&str> {
        let attempt = self.entries.get(identity)?;
        let State::Aside { why, tried } = &attempt.state else { return None };
        let was_not_us = matches!(tried, Tried::At(at) if now.saturating_duration_since(*at) >= GRACE);
        let is_over = now.saturating_duration_since(attempt.since) >= AGAIN || !is_same(&attempt.config, config);
        (!was_not_us && !is_over).then_some(why)
    }

    /// Records that the pod was given a sidecar at `now`, which is `second` of the wall clock. Of several such answers, the
    /// first counts.
    pub fn injected(
        &mut self,
        identity: Identity,
        owner: Option<Value>,
        config: &Arc<Config>,
        (now, second): (Instant, i64),
    ) {
        match self.entries.get(&identity).map(|attempt| &attempt.state) {
            Some(State::Injected) => return,
            None if self.entries.len() >= MOST => {
                let oldest = self.entries.iter().min_by_key(|(_, attempt)| attempt.since);
                let oldest = oldest.map(|(identity, _)| identity.clone());
                oldest.map(|oldest| self.entries.remove(&oldest));
            }
            // The state of a known pod no longer applies: otherwise the pod would have been left alone.
            _ => {}
        }
        let attempt = Attempt { since: now, second, config: config.clone(), owner, state: State::Injected };
        self.entries.insert(identity, attempt);
    }

    /// Records that the pod was left alone because of [`Attempts::hold`].
    pub fn left_alone(&mut self, identity: &Identity, now: Instant) {
        if let Some(Attempt { state: State::Aside { tried, .. }, .. }) = self.entries.get_mut(identity)
            && *tried == Tried::NotYet
        {
            *tried = Tried::At(now);
        }
    }

    /// Records that the pod exists since `created`, in seconds of the wall clock.
    pub fn shown(&mut self, identity: &Identity, has_sidecar: bool, created: i64) {
        let attempt = self.entries.get_mut(identity).filter(|attempt| match identity.who {
            Who::Pod(_) => true,
            // An older pod of the same owner proves nothing.
            Who::Owner(_) => created >= attempt.second - SKEW,
        });
        match attempt.map(|attempt| &mut attempt.state) {
            Some(State::Aside { tried, .. }) if !has_sidecar => *tried = Tried::Proven,
            Some(_) => drop(self.entries.remove(identity)),
            None => {}
        }
    }

    /// The attempts whose pod should exist by now. Also removes entries that are too old.
    pub fn due(&mut self, now: Instant) -> Vec<Due> {
        self.entries.retain(|_, attempt| now.saturating_duration_since(attempt.since) < AGAIN);
        let is_due = |attempt: &Attempt| {
            matches!(attempt.state, State::Injected) && now.saturating_duration_since(attempt.since) >= GRACE
        };
        let due = self.entries.iter().filter(|(_, attempt)| is_due(attempt));
        due.map(|(identity, attempt)| Due {
            identity: identity.clone(),
            owner: attempt.owner.clone(),
            since: attempt.second - SKEW,
        })
        .collect()
    }

    /// Records that the pod does not exist: something refused it after us. Returns whether this is new.
    pub fn refused(&mut self, identity: &Identity, why: String, now: Instant) -> bool {
        match self.entries.get_mut(identity) {
            Some(attempt) if matches!(attempt.state, State::Injected) => {
                attempt.since = now;
                attempt.state = State::Aside { why, tried: Tried::NotYet };
                true
            }
            _ => false,
        }
    }

    /// Records that nobody knows whether the pod exists.
    pub fn unclear(&mut self, identity: &Identity) {
        if self.entries.get(identity).is_some_and(|attempt| matches!(attempt.state, State::Injected)) {
            self.entries.remove(identity);
        }
    }

    /// Records that the watch failed. A pod may have come and gone unseen, so its absence proves nothing.
    pub fn interrupted(&mut self) {
        self.entries.retain(|_, attempt| matches!(attempt.state, State::Aside { .. }));
        for attempt in self.entries.values_mut() {
            if let State::Aside { tried: tried @ Tried::At(_), .. } = &mut attempt.state {
                *tried = Tried::NotYet;
            }
        }
    }

    /// Records that the namespace's limits changed: its pods are tried again.
    pub fn namespace_changed(&mut self, namespace: &str) {
        self.entries.retain(|identity, _| identity.namespace != namespace);
    }

    /// The number of pods that are left alone because they were refused.
    pub fn aside(&self) -> usize {
        self.entries.values().filter(|attempt| matches!(attempt.state, State::Aside { .. })).count()
    }
}

fn is_same(one: &Arc<Config>, other: &Arc<Config>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Identity {
        Identity { namespace: "redis".to_owned(), who: Who::Pod(name.to_owned()) }
    }

    /// Attempts with one pod that was refused at the returned instant.
    fn refused(config: &Arc<Config>) -> (Attempts, Instant) {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        attempts.injected(pod("rec-0"), None, config, (start, 0));
        let later = start + GRACE;
        assert_eq!(attempts.due(later), [Due { identity: pod("rec-0"), owner: None, since: -SKEW }]);
        assert!(attempts.refused(&pod("rec-0"), "exceeded quota".to_owned(), later));
        (attempts, later)
    }

    #[test]
    fn leaves_only_the_refused_pod_alone() {
        let config = Arc::new(Config::default());
        let (attempts, at) = refused(&config);
        assert_eq!(attempts.hold(&pod("rec-0"), &config, at), Some("exceeded quota"));
        assert_eq!(attempts.hold(&pod("rec-1"), &config, at), None);
        assert_eq!(attempts.aside(), 1);
    }

    #[test]
    fn an_existing_pod_was_not_refused() {
        let (mut attempts, config, start) = (Attempts::default(), Arc::new(Config::default()), Instant::now());
        for _ in 0..3 {
            attempts.injected(pod("rec-0"), None, &config, (start, 0));
        }
        assert!(attempts.due(start + GRACE / 2).is_empty(), "too early to say");
        attempts.shown(&pod("rec-0"), true, 0);
        assert!(attempts.due(start + GRACE).is_empty());
        assert!(!attempts.refused(&pod("rec-0"), String::new(), start + GRACE), "it showed in the meantime");
        assert_eq!(attempts.hold(&pod("rec-0"), &config, start + GRACE), None);
    }

    #[test]
    fn the_first_of_several_answers_counts() {
        let (mut attempts, config, start) = (Attempts::default(), Arc::new(Config::default()), Instant::now());
        attempts.injected(pod("rec-0"), None, &config, (start, 0));
        attempts.injected(pod("rec-0"), None, &config, (start + GRACE / 2, 1));
        assert_eq!(attempts.due(start + GRACE).len(), 1);
    }

    #[test]
    fn stays_aside_if_the_pod_exists_without_the_sidecar() {
        let config = Arc::new(Config::default());
        let (mut attempts, at) = refused(&config);
        attempts.left_alone(&pod("rec-0"), at);
        attempts.shown(&pod("rec-0"), false, 0);
        let later = at + GRACE * 10;
        assert!(attempts.hold(&pod("rec-0"), &config, later).is_some());
        assert!(attempts.hold(&pod("rec-0"), &config, at + AGAIN).is_none(), "tried again after an hour");
    }

    #[test]
    fn injects_again_if_the_pod_is_refused_without_the_sidecar_too() {
        let config = Arc::new(Config::default());
        let (mut attempts, at) = refused(&config);
        attempts.left_alone(&pod("rec-0"), at);
        assert!(attempts.hold(&pod("rec-0"), &config, at + GRACE / 2).is_some(), "it may still show");
        assert!(attempts.hold(&pod("rec-0"), &config, at + GRACE).is_none());
        attempts.injected(pod("rec-0"), None, &config, (at + GRACE, 2));
        assert_eq!(attempts.due(at + GRACE * 2).len(), 1, "and looked for again");
    }

    #[test]
    fn an_older_pod_of_the_owner_proves_nothing() {
        let (mut attempts, config, start) = (Attempts::default(), Arc::new(Config::default()), Instant::now());
        let owner = Identity { namespace: "redis".to_owned(), who: Who::Owner("u-1".to_owned()) };
        attempts.injected(owner.clone(), None, &config, (start, 1000));
        attempts.shown(&owner, true, 1000 - SKEW - 1);
        assert_eq!(attempts.due(start + GRACE).len(), 1);
        attempts.shown(&owner, true, 1000);
        assert!(attempts.due(start + GRACE).is_empty());
    }

    #[test]
    fn tries_again_under_another_configuration_and_other_limits() {
        let config = Arc::new(Config::default());
        let (attempts, at) = refused(&config);
        assert!(attempts.hold(&pod("rec-0"), &Arc::new(Config::default()), at).is_some(), "the same once more");
        let other = Arc::new(Config { tenant: "audit".to_owned(), ..Config::default() });
        assert!(attempts.hold(&pod("rec-0"), &other, at).is_none());
        let (mut attempts, at) = refused(&config);
        attempts.namespace_changed("other");
        assert!(attempts.hold(&pod("rec-0"), &config, at).is_some());
        attempts.namespace_changed("redis");
        assert!(attempts.hold(&pod("rec-0"), &config, at).is_none());
    }

    #[test]
    fn concludes_nothing_from_a_failed_watch() {
        let config = Arc::new(Config::default());
        let (mut attempts, at) = refused(&config);
        attempts.left_alone(&pod("rec-0"), at);
        attempts.injected(pod("rec-1"), None, &config, (at, 0));
        attempts.interrupted();
        assert!(attempts.due(at + GRACE).is_empty());
        assert!(attempts.hold(&pod("rec-0"), &config, at + GRACE).is_some());
    }

    #[test]
    fn remembers_a_limited_number_of_pods_and_drops_the_oldest() {
        let (mut attempts, config, start) = (Attempts::default(), Arc::new(Config::default()), Instant::now());
        for i in 0..=MOST {
            attempts.injected(pod(&i.to_string()), None, &config, (start + Duration::from_millis(i as u64), 0));
        }
        let due = attempts.due(start + GRACE * 10);
        assert_eq!(due.len(), MOST);
        assert!(due.iter().all(|due| due.identity != pod("0")));
    }
}
