//! The Lease by which one replica is elected, and what that replica must remember.
//!
//! A manifest creates the Lease, so its permission names this one object. A replica takes it if nobody holds it, or if its
//! holder has not renewed it for its whole duration, as this replica's own clock saw it: clocks of nodes differ. Every write
//! names the version that it replaces, so of two replicas one fails.
//!
//! The holder remembers in an annotation which findings it told, so that the next holder does not tell them again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use runtime::chain;

/// The Lease in the manifests.
const NAME: &str = "redis-log-webhook-audit";
/// The annotation with the findings that were told: their keys, and the seconds when.
const TOLD: &str = "redis-log-shipper.io/told";
/// A finding is told again after this time.
const TELL_AGAIN: i64 = 24 * 60 * 60;
/// The limit for remembered findings. Each takes 30 bytes, and all annotations together may take 256 KiB.
const MOST_TOLD: usize = 2000;

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long the Lease is valid after a renewal.
    pub duration: Duration,
    /// The holder stops if it could not renew the Lease for this long. Shorter than `duration`.
    pub deadline: Duration,
    /// The interval of renewals, and of attempts to take the Lease.
    pub interval: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { duration: Duration::from_secs(20), deadline: Duration::from_secs(15), interval: Duration::from_secs(4) }
    }
}

/// The Lease, as one replica sees it.
#[derive(Debug)]
pub(super) struct Lease {
    api: Api<Object>,
    identity: String,
    times: Times,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The Lease as this replica last wrote it. `None` if it does not hold it.
    held: Option<Object>,
    /// The holder's last renewal, and since when this replica has seen it.
    seen: (Option<LeaseSpec>, Instant),
}

impl Lease {
    pub(super) fn new(client: kube::Client, namespace: &str, identity: String, times: Times) -> Self {
        let state = Mutex::new(State { held: None, seen: (None, Instant::now()) });
        Self { api: Api::namespaced(client, namespace), identity, times, state }
    }

    /// Takes and renews the Lease forever. `leading` says whether this replica holds it.
    pub(super) async fn keep(&self, leading: watch::Sender<bool>) {
        let mut ticks = tokio::time::interval(self.times.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut renewed, mut is_broken) = (Instant::now(), false);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            match tokio::time::timeout(self.times.interval, self.renew()).await {
                Ok(Ok(holds)) => {
                    (renewed, is_broken) = (asked, false);
                    leading.send_if_modified(|leads| std::mem::replace(leads, holds) != holds);
                }
                failed => {
                    if !std::mem::replace(&mut is_broken, true) {
                        let error = match failed {
                            Ok(Err(error)) => chain(&error),
                            _ => "no answer in time".to_owned(),
                        };
                        tracing::warn!(
                            error,
                            "failed to take or renew the Lease redis-log-webhook-audit; the component audit contains it"
                        );
                    }
                    if renewed.elapsed() + self.times.interval > self.times.deadline {
                        leading.send_if_modified(std::mem::take);
                    }
                }
            }
        }
    }

    /// Takes or renews the Lease, if no other replica holds it. Returns whether this replica holds it now.
    async fn renew(&self) -> kube::Result<bool> {
        let mut state = self.state.lock().await;
        let mut lease = match state.held.take() {
            Some(held) => held,
            None => self.api.get(NAME).await?,
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let is_ours = spec.holder_identity.as_ref() == Some(&self.identity);
        if state.seen.0.as_ref() != Some(&spec) {
            state.seen = (Some(spec.clone()), Instant::now());
        }
        if !is_ours && !is_free(&spec, state.seen.1.elapsed()) {
            return Ok(false);
        }
        lease.spec = Some(self.renewed(spec, is_ours));
        state.held = self.replace(&lease).await?;
        Ok(state.held.is_some())
    }

    fn renewed(&self, spec: LeaseSpec, is_ours: bool) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs()).ok(),
            acquire_time: if is_ours { spec.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(!is_ours)),
            ..spec
        }
    }

    /// Writes the Lease. `None` if somebody else wrote it meanwhile: then it is read again before the next write.
    async fn replace(&self, lease: &Object) -> kube::Result<Option<Object>> {
        match self.api.replace(NAME, &PostParams::default(), lease).await {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of the findings with these keys, those that nobody told for a day. They count as told from now on. None if this
    /// replica no longer holds the Lease.
    pub(super) async fn untold(&self, keys: &[String]) -> kube::Result<Vec<String>> {
        let mut state = self.state.lock().await;
        let Some(mut lease) = state.held.take() else { return Ok(Vec::new()) };
        let annotations = lease.metadata.annotations.get_or_insert_default();
        let told = annotations.get(TOLD).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let (told, untold) = merged(told, keys, Timestamp::now().as_second());
        if untold.is_empty() {
            state.held = Some(lease);
            return Ok(untold);
        }
        annotations.insert(TOLD.to_owned(), serde_json::to_string(&told).map_err(kube::Error::SerdeError)?);
        state.held = self.replace(&lease).await?;
        Ok(if state.held.is_some() { untold } else { Vec::new() })
    }
}

/// Whether another replica may take the Lease, whose holder has not renewed it for `unchanged`.
fn is_free(spec: &LeaseSpec, unchanged: Duration) -> bool {
    let has_holder = spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    !has_holder || unchanged >= seconds.map_or(Times::default().duration, Duration::from_secs)
}

/// The findings that count as told at second `now`, and which of `keys` are new among them.
fn merged(mut told: BTreeMap<String, i64>, keys: &[String], now: i64) -> (BTreeMap<String, i64>, Vec<String>) {
    told.retain(|_, at| (now - TELL_AGAIN..=now).contains(at));
    let mut untold = Vec::new();
    for key in keys {
        // If it is full, a finding is not told: the gauge has it.
        if told.len() < MOST_TOLD && !told.contains_key(key) {
            told.insert(key.clone(), now);
            untold.push(key.clone());
        }
    }
    (told, untold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_without_a_holder_or_after_its_duration() {
        let held = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(20),
            ..LeaseSpec::default()
        };
        assert!(is_free(&LeaseSpec::default(), Duration::ZERO) && is_free(&held(""), Duration::ZERO));
        assert!(!is_free(&held("other"), Duration::from_secs(19)));
        assert!(is_free(&held("other"), Duration::from_secs(20)));
    }

    #[test]
    fn tells_a_finding_once_a_day() {
        let keys = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (told, first) = merged(BTreeMap::new(), &keys(&["a", "b"]), 1000);
        assert_eq!(first, ["a", "b"]);
        let (told, second) = merged(told, &keys(&["a", "c"]), 1000 + TELL_AGAIN);
        assert_eq!(second, ["c"]);
        let (told, third) = merged(told, &keys(&["a", "c"]), 1001 + TELL_AGAIN);
        assert_eq!((third, told.len()), (keys(&["a"]), 2), "a is a day old, and b is forgotten");
        // A clock that was wrong keeps no finding from being told for long.
        let (_, now) = merged(BTreeMap::from([("a".to_owned(), 5000)]), &keys(&["a"]), 1000);
        assert_eq!(now, ["a"]);
    }

    #[test]
    fn remembers_a_bounded_number_of_findings() {
        let keys: Vec<_> = (0..MOST_TOLD + 10).map(|number| number.to_string()).collect();
        let (told, untold) = merged(BTreeMap::new(), &keys, 1000);
        assert_eq!((told.len(), untold.len()), (MOST_TOLD, MOST_TOLD));
    }
}
