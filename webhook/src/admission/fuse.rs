//! The fuse of a namespace: while an injected sidecar cannot start, new pods get none.
//!
//! It blows on what the API server shows of a pod, so all replicas agree, also after a restart. It closes when a sidecar in
//! the namespace starts, when the configuration changes (including image and pull secrets), or an hour after the failing
//! pod is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::Config;

/// How long a sidecar may fail to start before the fuse blows.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A blown fuse outlives its pod by this time.
const AGAIN: Duration = Duration::from_hours(1);
/// The limit for remembered failing pods.
const MOST: usize = 4096;
/// The reasons that the kubelet gives for a container that does not start.
const FAILURES: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// The condition of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It has been running since this second of the wall clock.
    Running(i64),
    /// It does not start, for this reason.
    Failing(String),
    /// Not known yet.
    Unknown,
}

impl Condition {
    /// The condition of a waiting container.
    pub fn of_waiting(reason: &str, message: &str) -> Self {
        if !FAILURES.contains(&reason) {
            return Self::Unknown;
        }
        let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        Self::Failing(if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") })
    }
}

/// A pod with a sidecar, as the watch shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The object that controls it.
    pub owner: Option<Value>,
    /// The condition of its sidecar.
    pub condition: Condition,
    /// The shortest time for which the condition may have lasted already.
    pub for_at_least: Duration,
    /// Whether its sidecar comes from the current configuration.
    pub is_current: bool,
}

/// The fuses of all namespaces.
#[derive(Debug, Default)]
pub struct Fuses {
    failing: HashMap<(String, String), Failing>,
    blown: HashMap<String, Blown>,
    config: Option<Arc<Config>>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    cause: String,
    owner: Option<Value>,
    /// Whether it can blow the fuse. A sidecar of an older configuration cannot.
    counts: bool,
    /// Since when the sidecar runs again after a crash.
    running: Option<Instant>,
}

/// A fuse that has blown.
#[derive(Debug, Clone, PartialEq)]
pub struct Blown {
    /// The namespace.
    pub namespace: String,
    /// The pod whose sidecar does not start.
    pub pod: String,
    /// The object that controls it.
    pub owner: Option<Value>,
    /// The kubelet's reason.
    pub cause: String,
    /// When it blew, on both clocks.
    at: Instant,
    second: i64,
}

impl Blown {
    /// What happened, and how to fix it.
    pub fn text(&self) -> String {
        let Self { pod, cause, .. } = self;
        format!(
            "fuse blown: the log shipper of pod {pod} does not start, so new pods of this namespace get none; fix the \
             cause, or delete pod {pod} to run Redis without the log shipper; the cause: {cause}"
        )
    }
}

impl Fuses {
    /// Records a pod. Returns the fuse that this closes.
    pub fn seen(&mut self, seen: Seen, now: Instant) -> Option<Blown> {
        let key = (seen.namespace, seen.pod);
        match seen.condition {
            Condition::Failing(cause) => {
                let since = now.checked_sub(seen.for_at_least).unwrap_or(now);
                if let Some(failing) = self.failing.get_mut(&key) {
                    (failing.cause, failing.running) = (cause, None);
                } else if self.failing.len() < MOST {
                    let (owner, counts) = (seen.owner, seen.is_current);
                    self.failing.insert(key, Failing { since, cause, owner, counts, running: None });
                }
                None
            }
            Condition::Running(second) => {
                // In a crash loop the container runs now and then. The loop is over once the container has run for
                // `PATIENCE`.
                if let Some(failing) = self.failing.get_mut(&key)
                    && failing.cause.starts_with("CrashLoopBackOff")
                {
                    failing.running.get_or_insert(now);
                    return None;
                }
                self.failing.remove(&key);
                let is_newer = |blown: &Blown| second >= blown.second || blown.pod == key.1;
                if self.blown.get(&key.0).is_some_and(is_newer) { self.blown.remove(&key.0) } else { None }
            }
            Condition::Unknown => None,
        }
    }

    /// Records that the pod is gone. The fuse stays blown for the pod that replaces it.
    pub fn gone(&mut self, namespace: &str, pod: &str) {
        self.failing.remove(&(namespace.to_owned(), pod.to_owned()));
    }

    /// Keeps only the failing pods that a new list shows.
    pub fn retain(&mut self, is_shown: impl Fn(&str, &str) -> bool) {
        self.failing.retain(|(namespace, pod), _| is_shown(namespace, pod));
    }

    /// Applies the clocks and the configuration. Returns the fuses that blow now.
    pub fn update(&mut self, config: &Arc<Config>, now: Instant, second: i64) -> Vec<Blown> {
        let is_same = |known: &Arc<Config>| Arc::ptr_eq(known, config) || known == config;
        if !self.config.as_ref().is_some_and(is_same) {
            if self.config.is_some() {
                self.blown.clear();
                self.failing.values_mut().for_each(|failing| failing.counts = false);
            }
            self.config = Some(config.clone());
        }
        let Self { failing, blown, .. } = self;
        failing.retain(|(namespace, pod), failing| {
            let runs = failing.running.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
            if runs && blown.get(namespace).is_some_and(|blown| blown.pod == *pod) {
                blown.remove(namespace);
            }
            !runs
        });
        let is_failing = |blown: &Blown| failing.contains_key(&(blown.namespace.clone(), blown.pod.clone()));
        blown.retain(|_, blown| is_failing(blown) || now.saturating_duration_since(blown.at) < AGAIN);
        let mut new = Vec::new();
        for ((namespace, pod), failing) in failing.iter() {
            let is_over = failing.counts && now.saturating_duration_since(failing.since) >= PATIENCE;
            if is_over && !blown.contains_key(namespace) {
                let (pod, owner, cause) = (pod.clone(), failing.owner.clone(), failing.cause.clone());
                let fuse = Blown { namespace: namespace.clone(), pod, owner, cause, at: now, second };
                blown.insert(namespace.clone(), fuse.clone());
                new.push(fuse);
            }
        }
        new
    }

    /// The blown fuse of a namespace.
    pub fn blown(&self, namespace: &str) -> Option<&Blown> {
        self.blown.get(namespace)
    }

    /// The number of blown fuses.
    pub fn len(&self) -> usize {
        self.blown.len()
    }

    /// Whether no fuse has blown.
    pub fn is_empty(&self) -> bool {
        self.blown.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock {
        fuses: Fuses,
        config: Arc<Config>,
        start: Instant,
    }

    impl Clock {
        fn new() -> Self {
            let (mut fuses, config, start) = (Fuses::default(), Arc::new(Config::default()), Instant::now());
            assert!(fuses.update(&config, start, 0).is_empty());
            Self { fuses, config, start }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn seen(&mut self, pod: &str, condition: Condition, seconds: u64) -> Option<Blown> {
            let (namespace, pod) = ("redis".to_owned(), pod.to_owned());
            let for_at_least = Duration::ZERO;
            let seen = Seen { namespace, pod, owner: None, condition, for_at_least, is_current: true };
            self.fuses.seen(seen, self.at(seconds))
        }

        fn update(&mut self, seconds: u64) -> Vec<Blown> {
            self.fuses.update(&self.config, self.at(seconds), i64::try_from(seconds).unwrap())
        }

        /// A fuse that blew after 30 s because of `rec-0`.
        fn blown(reason: &str) -> Self {
            let mut clock = Self::new();
            clock.seen("rec-0", Condition::of_waiting(reason, "no"), 0);
            assert_eq!(clock.update(30).len(), 1);
            clock
        }
    }

    #[test]
    fn blows_once_after_half_a_minute_and_names_pod_and_cause() {
        let mut clock = Clock::new();
        clock.seen("rec-0", Condition::of_waiting("ErrImagePull", "not found"), 0);
        clock.seen("rec-0", Condition::of_waiting("ImagePullBackOff", "back-off"), 20);
        assert!(clock.update(29).is_empty() && clock.fuses.blown("redis").is_none());
        let text = clock.update(30).remove(0).text();
        assert!(text.contains("delete pod rec-0") && text.contains("ImagePullBackOff: back-off"), "{text}");
        assert!(clock.update(31).is_empty(), "told once");
        assert!(clock.fuses.blown("redis").is_some() && clock.fuses.blown("other").is_none());
    }

    #[test]
    fn other_reasons_to_wait_are_no_failures() {
        let mut clock = Clock::new();
        clock.seen("rec-0", Condition::of_waiting("ContainerCreating", ""), 0);
        clock.seen("rec-1", Condition::of_waiting("PodInitializing", ""), 0);
        assert!(clock.update(300).is_empty());
    }

    #[test]
    fn stays_blown_for_the_pod_that_replaces_the_failing_one() {
        let mut clock = Clock::blown("ErrImagePull");
        clock.fuses.gone("redis", "rec-0");
        clock.update(60);
        assert!(clock.fuses.blown("redis").is_some());
        clock.update(30 + 3600);
        assert!(clock.fuses.blown("redis").is_none(), "tried again after an hour");
    }

    #[test]
    fn closes_when_a_sidecar_starts_after_it_blew() {
        let mut clock = Clock::blown("ErrImagePull");
        assert!(clock.seen("rec-1", Condition::Running(29), 40).is_none());
        assert!(clock.fuses.blown("redis").is_some());
        assert!(clock.seen("rec-1", Condition::Running(35), 40).is_some());
        assert!(clock.fuses.blown("redis").is_none());
        let mut clock = Clock::blown("ErrImagePull");
        assert!(clock.seen("rec-0", Condition::Running(35), 35).is_some());
    }

    #[test]
    fn a_crash_loop_counts_even_if_it_runs_now_and_then() {
        let mut clock = Clock::new();
        for second in [0, 10, 20] {
            clock.seen("rec-0", Condition::of_waiting("CrashLoopBackOff", ""), second);
            clock.seen("rec-0", Condition::Running(i64::try_from(second).unwrap()), second + 5);
        }
        assert_eq!(clock.update(30).len(), 1);
        clock.update(54);
        assert!(clock.fuses.blown("redis").is_some());
        clock.update(55);
        assert!(clock.fuses.blown("redis").is_none(), "it has run for half a minute");
    }

    #[test]
    fn closes_under_another_configuration_and_ignores_older_failures() {
        let mut clock = Clock::blown("ErrImagePull");
        clock.config = Arc::new(Config { image: "example.com/repaired:1".to_owned(), ..Config::default() });
        assert!(clock.update(31).is_empty() && clock.fuses.is_empty());
        assert!(clock.update(300).is_empty(), "what fails still is of the old configuration");
        clock.seen("rec-1", Condition::of_waiting("ErrImagePull", ""), 300);
        assert_eq!(clock.update(330).len(), 1);
    }

    #[test]
    fn blows_at_once_for_a_failure_from_before_the_start() {
        let mut clock = Clock::new();
        let (namespace, pod) = ("redis".to_owned(), "rec-0".to_owned());
        let condition = Condition::of_waiting("ErrImagePull", "");
        // The monotonic clock of a machine that has just started cannot go back that far.
        let at = clock.at(3600);
        let for_at_least = Duration::from_mins(1);
        clock.fuses.seen(Seen { namespace, pod, owner: None, condition, for_at_least, is_current: true }, at);
        assert_eq!(clock.update(3600).len(), 1);
    }
}
