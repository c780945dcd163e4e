//! One Redis Enterprise pod: whether it has the sidecar that it should have, and how the sidecar does.

use findings::{Code, Finding, Outcome};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding;
use crate::admission::fuse::Condition;
use crate::admission::pod::{
    HASH, INJECT, PREFIX, PULL_SECRETS, SIDECAR, STATUS, annotation, items, name, spec_items, text,
};
use crate::admission::skip::Skip;
use crate::admission::surroundings::Surroundings;
use crate::admission::{self, Judged, Verdict, annotations};
use crate::config::Config;

/// A sidecar that has ended so often does not do its work. Fewer ends may come from restarts of the node.
const MOST_RESTARTS: u64 = 3;

/// What is known about the pods of one namespace.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// The configuration of the webhook.
    pub(crate) config: &'a Config,
    /// The version of the API server, and the limits in the namespace.
    pub(crate) surroundings: &'a Surroundings,
    /// Why an existing sidecar cannot be compared with a new one.
    pub(crate) not_comparable: Option<&'a str>,
    /// When the namespace was labelled.
    pub(crate) labelled: Option<Timestamp>,
    /// When the webhook was registered.
    pub(crate) registered: Option<Timestamp>,
    /// The messages of the namespace's Events about pods that the webhook left alone. `None` if they were not read.
    pub(crate) left_alone: Option<&'a Vec<(Code, String)>>,
}

/// Whether an existing pod of an opted-in namespace has the sidecar that it would get now.
pub(crate) fn sidecar(pod: &Value, namespace: &str, known: &Known<'_>) -> Outcome {
    let judged = admission::judge_among(pod, Some(namespace), known.config, known.surroundings);
    let pod_name = pod.get("metadata").and_then(name).unwrap_or_default();
    match &judged.verdict {
        Verdict::Injected(_) => Outcome::Found(absent(pod, (namespace, pod_name), known)),
        Verdict::Skipped(Skip::AlreadyInjected) => Outcome::Passed(String::new()),
        Verdict::Skipped(Skip::Drift) if known.not_comparable.is_some() => {
            Outcome::Passed(format!("of which version is not compared: {}", known.not_comparable.unwrap_or_default()))
        }
        _ => left_alone(&judged, (namespace, pod_name)),
    }
}

/// The outcome for a pod that the rules leave alone, whether it exists or not.
pub(crate) fn left_alone(judged: &Judged, (namespace, pod): (&str, &str)) -> Outcome {
    let skip = match &judged.verdict {
        Verdict::Injected(_) => return Outcome::Passed("the webhook adds it".to_owned()),
        Verdict::Skipped(Skip::AlreadyInjected) => return Outcome::Passed(String::new()),
        Verdict::Skipped(skip) => *skip,
        Verdict::Failed(error) | Verdict::Panicked(error) => {
            return Outcome::Skipped(format!("this program failed: {error}"));
        }
    };
    let said = judged.warnings.first().map_or_else(|| skip.reason().replace('_', " "), ToString::to_string);
    match skip.code() {
        Some(code) => Outcome::Found(finding(code, format!("pod {namespace}/{pod}: {said}"), namespace, pod)),
        None if skip == Skip::OptedOut => Outcome::Skipped(format!("the annotation {INJECT} opts out")),
        None => Outcome::Skipped(format!("the webhook leaves it alone: {}", skip.reason().replace('_', " "))),
    }
}

/// Why an existing pod has no sidecar, though the webhook would add one now.
fn absent(pod: &Value, (namespace, pod_name): (&str, &str), known: &Known<'_>) -> Finding {
    let of_pod = format!("pod {pod_name}: ");
    let mut left_alone = known.left_alone.into_iter().flatten().rev();
    let said = left_alone.find_map(|(code, message)| Some((*code, message.split_once(&of_pod)?.1)));
    if let Some((code, said)) = said {
        let said = said.trim_start_matches("redis-log-shipper: ");
        return finding(code, format!("pod {namespace}/{pod_name}: {said}"), namespace, pod_name);
    }
    let created = text(pod, "/metadata/creationTimestamp").and_then(|time| time.parse::<Timestamp>().ok());
    let said = |code: Code, why: String| {
        finding(code, format!("pod {namespace}/{pod_name} has no sidecar: {why}"), namespace, pod_name)
    };
    let Some(created) = created else {
        return said(Code::PodWithoutSidecar, "it does not say when it was created".to_owned());
    };
    match (known.labelled, known.registered) {
        // Both have whole seconds. A pod of the same second that came after the label would have the sidecar.
        (Some(labelled), _) if created <= labelled => {
            let why = format!("it was created at {created}, before its namespace was labelled at {labelled}");
            said(Code::PodOlderThanLabel, why)
        }
        (_, Some(registered)) if created < registered => {
            let why = format!("it was created at {created}, before the webhook was registered at {registered}");
            said(Code::PodWithoutSidecar, why)
        }
        (Some(_), _) => {
            let why = if known.left_alone.is_some() {
                format!("it was created at {created}, and no Event says why; most likely the webhook was away")
            } else {
                format!("it was created at {created}, and the Events that may say why were not read")
            };
            said(Code::PodWithoutSidecar, why)
        }
        (None, _) => {
            let why = format!(
                "it was created at {created}, and the API server does not tell when the namespace was labelled"
            );
            said(Code::PodWithoutSidecar, why)
        }
    }
}

/// Whether the pod has our sidecar, or a container of its name.
pub(crate) fn has_sidecar(pod: &Value) -> bool {
    ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| spec_items(pod, list))
        .any(|it| name(it) == Some(SIDECAR))
}

/// The annotations of a pod that cannot be used. Each is tried alone.
pub(crate) fn invalid_annotations(pod: &Value, namespace: &str, config: &Config) -> Vec<Finding> {
    let pod_name = pod.get("metadata").and_then(name).unwrap_or_default();
    let all = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let ours = all
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(PREFIX) && ![INJECT, STATUS, HASH, PULL_SECRETS].contains(&key.as_str()));
    ours.filter_map(|(key, value)| {
        let alone = json!({"metadata": {"annotations": { (key.as_str()): value }}});
        let warning = annotations::overridden(&alone, config).warnings.pop()?;
        let code = warning.code.unwrap_or(Code::InvalidAnnotation);
        Some(finding(code, format!("pod {namespace}/{pod_name}: {warning}"), namespace, pod_name))
    })
    .collect()
}

/// The name of a pod whose sidecar runs.
pub(crate) fn running_sidecar(pod: &Value) -> Option<&str> {
    status_of_sidecar(pod)?.pointer("/state/running")?;
    annotation(pod, HASH)?;
    pod.get("metadata").and_then(name)
}

fn status_of_sidecar(pod: &Value) -> Option<&Value> {
    let status = pod.get("status")?;
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.into_iter().flat_map(|list| items(status, list)).find(|it| name(it) == Some(SIDECAR))
}

/// Whether the sidecar of a pod starts, and keeps running.
pub(crate) fn condition(pod: &Value, namespace: &str) -> Option<Finding> {
    let pod_name = pod.get("metadata").and_then(name).unwrap_or_default();
    let sidecar = status_of_sidecar(pod)?;
    let word = |at: &str| text(sidecar, at).unwrap_or_default();
    let waiting = Condition::of_waiting(word("/state/waiting/reason"), word("/state/waiting/message"));
    let restarts = sidecar.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
    let last = match (text(sidecar, "/lastState/terminated/reason"), sidecar.pointer("/lastState/terminated/exitCode"))
    {
        (Some(reason), Some(code)) => format!("; it last ended with exit code {code} ({reason})"),
        _ => String::new(),
    };
    let (code, problem) = match waiting {
        // The container has started before.
        Condition::Failing(cause) if restarts == 0 => {
            (Code::FuseBlown, format!("the sidecar of pod {namespace}/{pod_name} does not start: {cause}"))
        }
        _ if restarts >= MOST_RESTARTS => (
            Code::SidecarRestarts,
            format!("the sidecar of pod {namespace}/{pod_name} has restarted {restarts} times{last}"),
        ),
        _ => return None,
    };
    Some(finding(code, problem, namespace, pod_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/a-vanilla.pod.yaml");
        let mut pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        pod["metadata"]["name"] = json!("rec-0");
        pod["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        pod
    }

    fn checked(pod: &Value, change: impl FnOnce(&mut Known<'static>)) -> String {
        let config = Box::leak(Box::new(Config::default()));
        let surroundings = Box::leak(Box::new(Surroundings::default()));
        let mut known = Known {
            config,
            surroundings,
            not_comparable: None,
            labelled: "2026-01-01T00:00:00Z".parse().ok(),
            registered: "2026-01-01T00:00:00Z".parse().ok(),
            left_alone: Some(Box::leak(Box::default())),
        };
        change(&mut known);
        match sidecar(pod, "redis", &known) {
            Outcome::Found(finding) => finding.to_string(),
            Outcome::Passed(detail) => format!("ok {detail}"),
            Outcome::Skipped(reason) => format!("skip {reason}"),
        }
    }

    fn injected() -> Value {
        let mut pod = pod();
        let Verdict::Injected(patch) = admission::judge(&pod, Some("redis"), &Config::default()).verdict else {
            panic!("not injected")
        };
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    #[test]
    fn says_why_a_pod_has_no_sidecar() {
        let later = "2026-01-03T00:00:00Z".parse().ok();
        let found = checked(&pod(), |known| known.labelled = later);
        assert!(found.starts_with("RLS202: pod redis/rec-0 has no sidecar: it was created at 2026-01-02"), "{found}");
        assert!(found.ends_with("redis-log-webhook rollout redis."), "{found}");
        let found = checked(&pod(), |_| {});
        assert!(found.starts_with("RLS203") && found.contains("most likely the webhook was away"), "{found}");
        let found = checked(&pod(), |known| known.registered = later);
        assert!(found.starts_with("RLS203") && found.contains("before the webhook was registered"), "{found}");
        let found = checked(&pod(), |known| known.labelled = None);
        assert!(found.starts_with("RLS203") && found.contains("does not tell when"), "{found}");
        let aside = vec![(Code::SteppedAside, "pod rec-0: redis-log-shipper: stepped aside: the quota".to_owned())];
        let aside: &Vec<_> = Box::leak(Box::new(aside));
        let found = checked(&pod(), |known| known.left_alone = Some(aside));
        assert!(found.starts_with("RLS209: pod redis/rec-0: stepped aside: the quota; fix: "), "{found}");
    }

    #[test]
    fn compares_a_sidecar_with_a_new_one_only_where_that_can_be_done() {
        assert_eq!(checked(&injected(), |_| {}), "ok ");
        let mut old = injected();
        old["metadata"]["annotations"][HASH] = json!("0");
        assert!(checked(&old, |_| {}).starts_with("RLS208: pod redis/rec-0: drift"));
        let other = checked(&old, |known| known.not_comparable = Some("the webhook is of version 2"));
        assert_eq!(other, "ok of which version is not compared: the webhook is of version 2");
    }

    #[test]
    fn leaves_alone_what_the_webhook_rightly_leaves_alone() {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({INJECT: "false"});
        assert_eq!(checked(&pod, |_| {}), format!("skip the annotation {INJECT} opts out"));
        pod["metadata"] = json!({"name": "other", "labels": {"app": "redis-enterprise"}});
        assert_eq!(checked(&pod, |_| {}), "skip the webhook leaves it alone: not redis enterprise");
    }

    #[test]
    fn names_a_sidecar_that_does_not_start_or_restarts() {
        let of = |status: Value| {
            let status = json!({"containerStatuses": [{"name": "redis-enterprise-node"}, status]});
            condition(&json!({"metadata": {"name": "rec-0"}, "status": status}), "redis").map(|it| it.to_string())
        };
        assert_eq!(of(json!({"name": SIDECAR, "restartCount": 2, "state": {"running": {}}})), None);
        let found = of(json!({"name": SIDECAR, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}));
        assert!(found.unwrap().starts_with("RLS210: the sidecar of pod redis/rec-0 does not start: ErrImagePull"));
        let killed = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
        let found = of(json!({"name": SIDECAR, "restartCount": 7, "lastState": killed})).unwrap();
        assert!(found.starts_with("RLS213") && found.contains("7 times; it last ended with exit code 137 (OOMKilled)"));
    }
}
