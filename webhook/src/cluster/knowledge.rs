//! What this replica knows about the cluster. The handler of reviews reads it without waiting: each access takes a short
//! lock or none. `pods`, `limit_ranges` and `refusals` update it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::admission::attempts::Attempts;
use crate::admission::fuse::Fuses;
use crate::admission::limits::Limit;
use crate::admission::skip::Skip;
use crate::admission::surroundings::{Hold, Identity, Surroundings};
use crate::admission::{Answer, Verdict};
use crate::config::Config;

/// The knowledge. Clones share it. By default it is empty.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the API server supports native sidecars.
    native_sidecars: OnceLock<bool>,
    /// By namespace.
    limits: ArcSwap<HashMap<String, Arc<[Limit]>>>,
    attempts: Mutex<Attempts>,
    fuses: Mutex<Fuses>,
    /// Whether the watch on pods works.
    sees_pods: AtomicBool,
    /// Whether the limits were read.
    knows_limits: AtomicBool,
}

impl Knowledge {
    /// What is known about one pod.
    pub fn surroundings(
        &self,
        namespace: Option<&str>,
        identity: Option<&Identity>,
        config: &Arc<Config>,
    ) -> Surroundings {
        let limits = namespace.and_then(|namespace| self.known.limits.load().get(namespace).cloned());
        let native_sidecars = self.known.native_sidecars.get().copied();
        Surroundings { native_sidecars, limits, hold: self.hold(namespace, identity, config) }
    }

    /// Sets whether the API server supports native sidecars. Only the first call counts.
    pub(crate) fn set_native_sidecars(&self, known: bool) {
        self.known.native_sidecars.get_or_init(|| known);
    }

    fn hold(&self, namespace: Option<&str>, identity: Option<&Identity>, config: &Arc<Config>) -> Option<Hold> {
        if let Some(blown) = namespace.and_then(|namespace| self.fuses().blown(namespace).cloned()) {
            return Some(Hold { skip: Skip::FuseBlown, text: blown.text() });
        }
        let text = self.attempts().hold(identity?, config, Instant::now())?.to_owned();
        Some(Hold { skip: Skip::SteppedAside, text })
    }

    /// Records an answer, to notice if its pod is refused. A dry run changes nothing.
    pub fn answered(&self, answer: &Answer, config: &Arc<Config>) {
        let Some(identity) = answer.identity.as_ref().filter(|_| !answer.dry_run) else { return };
        match answer.verdict {
            Verdict::Injected(_) if self.does_see_pods() => {
                let now = (Instant::now(), Timestamp::now().as_second());
                self.attempts().injected(identity.clone(), answer.owner.clone(), config, now);
            }
            Verdict::Skipped(Skip::SteppedAside) => self.attempts().left_alone(identity, Instant::now()),
            _ => {}
        }
    }

    /// The answers with a sidecar, and the refused pods.
    pub(super) fn attempts(&self) -> MutexGuard<'_, Attempts> {
        // A panic leaves a consistent map behind.
        self.known.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fuses of all namespaces.
    pub(super) fn fuses(&self) -> MutexGuard<'_, Fuses> {
        self.known.fuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether the watch on pods works.
    pub(super) fn sees_pods(&self, sees: bool) {
        if self.known.sees_pods.swap(sees, Ordering::AcqRel) && !sees {
            self.attempts().interrupted();
        }
    }

    /// Whether the watch on pods works: then a pod that it does not show probably does not exist.
    pub(super) fn does_see_pods(&self) -> bool {
        self.known.sees_pods.load(Ordering::Acquire)
    }

    /// Whether the limits of all namespaces were read since the start.
    pub(super) fn knows_limits(&self) -> bool {
        self.known.knows_limits.load(Ordering::Acquire)
    }

    /// Replaces the limits of all namespaces. If a namespace's limits changed, its pods are tried again.
    pub(super) fn set_limits(&self, limits: HashMap<String, Arc<[Limit]>>) {
        let before = self.known.limits.swap(Arc::new(limits));
        self.known.knows_limits.store(true, Ordering::Release);
        let now = self.known.limits.load();
        let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
        let changed = names.filter(|name| before.get(*name) != now.get(*name));
        let mut attempts = self.attempts();
        changed.for_each(|namespace| attempts.namespace_changed(namespace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_whether_the_api_server_supports_native_sidecars() {
        let (knowledge, config) = (Knowledge::default(), Arc::new(Config::default()));
        let known = || knowledge.surroundings(None, None, &config).native_sidecars;
        assert_eq!(known(), None);
        knowledge.clone().set_native_sidecars(true);
        assert_eq!(known(), Some(true));
    }
}
