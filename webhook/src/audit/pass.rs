//! One pass over the pods of a cluster: how often each finding holds, and what the owners of the pods should know.

use std::collections::{BTreeMap, BTreeSet};

use findings::{Code, Finding, Outcome};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::pod::{self, Known};
use crate::admission::pod::{owner, text};

/// The findings of a pass.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    counts: BTreeMap<Code, i64>,
    /// By the owner's UID and the code: one Event each.
    reports: BTreeMap<(String, Code), Report>,
    /// The accounts that were counted.
    accounts: BTreeSet<String>,
}

/// A finding for an owner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The owner of the pods, as an ownerReference.
    pub(crate) owner: Value,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The finding about its first pod.
    pub(crate) finding: Finding,
}

impl Pass {
    /// Adds what is wrong with one pod of a namespace that opted in.
    pub(crate) fn pod(&mut self, pod: &Value, namespace: &str, known: &Known<'_>) {
        if matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed")) {
            return;
        }
        if let Outcome::Found(finding) = pod::sidecar(pod, namespace, known) {
            self.found(pod, namespace, &finding);
        }
        if let Some(finding) = pod::condition(pod, namespace) {
            self.found(pod, namespace, &finding);
        }
    }

    /// Adds what keeps the account of a pod from pushing. Each account counts once.
    pub(crate) fn account(&mut self, pod: &Value, namespace: &str, account: &str, finding: &Finding) {
        if self.accounts.insert(format!("{namespace}/{account}/{}", finding.code)) {
            *self.counts.entry(finding.code).or_default() += 1;
        }
        self.report(pod, namespace, finding);
    }

    /// How many pods or accounts each finding holds for.
    pub(crate) fn counts(&self) -> &BTreeMap<Code, i64> {
        &self.counts
    }

    /// One report an owner and code, by a short key that stays the same from pass to pass.
    pub(crate) fn reports(self) -> BTreeMap<String, Report> {
        let key = |(uid, code): (String, Code)| format!("{:016x}", xxh3_64(format!("{uid} {code}").as_bytes()));
        self.reports.into_iter().map(|(of, report)| (key(of), report)).collect()
    }

    fn found(&mut self, pod: &Value, namespace: &str, finding: &Finding) {
        *self.counts.entry(finding.code).or_default() += 1;
        self.report(pod, namespace, finding);
    }

    fn report(&mut self, pod: &Value, namespace: &str, finding: &Finding) {
        let Some(owner) = owner(pod) else { return };
        let Some(uid) = owner.get("uid").and_then(Value::as_str) else { return };
        let report = || Report { owner: owner.clone(), namespace: namespace.to_owned(), finding: finding.clone() };
        self.reports.entry((uid.to_owned(), finding.code)).or_insert_with(report);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::surroundings::Surroundings;
    use crate::config::Config;

    fn pod(name: &str, owner: &str) -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/a-vanilla.pod.yaml");
        let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        pod["metadata"]["ownerReferences"] = json!([{"controller": true, "uid": owner}]);
        pod
    }

    fn passed(pods: &[Value]) -> Pass {
        let (config, surroundings) = (Config::default(), Surroundings::default());
        let known = Known {
            config: &config,
            surroundings: &surroundings,
            not_comparable: None,
            labelled: "2026-01-03T00:00:00Z".parse().ok(),
            registered: None,
            left_alone: None,
        };
        let mut pass = Pass::default();
        for pod in pods {
            pass.pod(pod, "redis", &known);
        }
        pass
    }

    #[test]
    fn counts_each_pod_and_reports_once_an_owner_and_code() {
        let mut restarting = pod("c-0", "set-c");
        restarting["status"] = json!({"containerStatuses": [{"name": "log-shipper", "restartCount": 5}]});
        let pods = [pod("a-0", "set-a"), pod("a-1", "set-a"), pod("b-0", "set-b"), restarting];
        let pass = passed(&pods);
        let counts = BTreeMap::from([(Code::PodOlderThanLabel, 4), (Code::SidecarRestarts, 1)]);
        assert_eq!(pass.counts(), &counts);
        let reports = pass.reports();
        let words: BTreeSet<_> = reports.values().map(|report| report.finding.to_string()).collect();
        assert_eq!(reports.len(), 4, "{words:?}");
        assert!(words.iter().any(|text| text.starts_with("RLS202: pod redis/a-0 ")), "{words:?}");
        // The next pass, perhaps of another replica, has the same keys.
        let keys: Vec<_> = passed(&pods).reports().into_keys().collect();
        assert_eq!(keys, reports.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn says_nothing_of_a_pod_that_has_ended_and_tells_nobody_about_a_pod_without_an_owner() {
        let (mut ended, mut alone) = (pod("a-0", "set-a"), pod("b-0", "set-b"));
        ended["status"] = json!({"phase": "Succeeded"});
        alone["metadata"]["ownerReferences"] = json!(null);
        let pass = passed(&[ended, alone]);
        assert_eq!(pass.counts(), &BTreeMap::from([(Code::PodOlderThanLabel, 1)]));
        assert_eq!(pass.reports().len(), 0);
    }

    #[test]
    fn counts_an_account_once_however_many_pods_it_has() {
        let mut pass = Pass::default();
        let finding = Finding::new(Code::MayNotPush, "it may not", "grant it");
        for (name, set) in [("a-0", "set-a"), ("a-1", "set-a"), ("b-0", "set-b")] {
            pass.account(&pod(name, set), "redis", "rec", &finding);
        }
        pass.account(&pod("c-0", "set-c"), "redis", "other", &finding);
        assert_eq!(pass.counts(), &BTreeMap::from([(Code::MayNotPush, 2)]));
        assert_eq!(pass.reports().len(), 3);
    }
}
