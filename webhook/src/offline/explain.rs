//! From one object to explanations: why each of its pods would or would not be injected, with the verdict of every rule.

use serde_json::{Value, json};

use super::inject::{InjectError, inject};
use super::pods::{kind, sites};
use crate::admission::case::Case;
use crate::admission::decision::RULES;
use crate::admission::pod::{HASH, INJECT, PREFIX, PULL_SECRETS, STATUS};
use crate::admission::skip::Skip;
use crate::admission::{Judged, Verdict, annotations, presence};
use crate::config::Config;

/// What the command cannot check.
pub const NOT_CHECKED: &str = "the namespace's label redis-log-shipper.io/inject=enabled is not checked here: the API \
     server checks it before it calls the webhook";

/// The rule for reviews, which comes before the rules for pods.
const REQUEST_RULE: &str = "the request is the creation of a pod";

/// The explanation for one pod.
#[derive(Debug)]
pub struct Explanation {
    /// The object that has the pod, as kubectl names it: `statefulset/rec`.
    pub title: String,
    /// The namespace, if it is known.
    pub namespace: Option<String>,
    /// Every rule, in the order in which they are checked.
    pub rules: Vec<Row>,
    /// The annotations that change the configuration, with their values.
    pub overrides: Vec<(String, String)>,
    /// The verdict.
    pub judged: Judged,
}

/// One rule and its result.
#[derive(Debug)]
pub struct Row {
    /// The condition, in words.
    pub rule: &'static str,
    /// Why it fails: a word and a sentence.
    pub fault: Option<(Skip, String)>,
}

/// Explains every pod in `object`. Without a namespace of its own, a pod is in `namespace`.
pub fn explain(object: &Value, namespace: Option<&str>, config: &Config) -> Result<Vec<Explanation>, InjectError> {
    // A review is judged as a whole, because the request is checked before the pod.
    let review = if kind(object) == "AdmissionReview" { inject(object, namespace, config)?.pods.pop() } else { None };
    let mut all = Vec::new();
    for site in sites(object) {
        let Some(place) = object.pointer(&site.pointer) else { continue };
        let judged = match &review {
            Some(review) => review.judged.clone(),
            None => site.judge(place, namespace, config),
        };
        let pod = site.pod(place);
        let namespace = site.namespace.as_deref().or(namespace);
        let overridden = annotations::overridden(&pod, config).config;
        let rules = rows(&Case { pod: &pod, namespace, config: &overridden, native_sidecars: None }, &judged);
        let overrides = overrides(&pod, config);
        all.push(Explanation {
            title: site.title,
            namespace: namespace.map(ToOwned::to_owned),
            rules,
            overrides,
            judged,
        });
    }
    if let (true, Some(review)) = (all.is_empty(), review)
        && let Verdict::Skipped(skip) = review.judged.verdict
    {
        let nothing = Case { pod: &Value::Null, namespace, config, native_sidecars: None };
        let rules = vec![Row { rule: REQUEST_RULE, fault: Some((skip, skip.explanation(&nothing))) }];
        all.push(Explanation {
            title: review.title,
            namespace: namespace.map(ToOwned::to_owned),
            rules,
            overrides: Vec::new(),
            judged: review.judged,
        });
    }
    Ok(all)
}

impl Explanation {
    /// Whether the pod would be injected, or is injected already.
    pub fn is_injected(&self) -> bool {
        matches!(self.judged.verdict, Verdict::Injected(_) | Verdict::Skipped(Skip::AlreadyInjected))
    }

    /// The explanation as JSON, with stable keys.
    pub fn to_json(&self) -> Value {
        let rule = |row: &Row| {
            let fault = row.fault.as_ref();
            json!({
                "rule": row.rule,
                "ok": fault.is_none(),
                "reason": fault.map(|(skip, _)| skip.reason()),
                "code": fault.and_then(|(skip, _)| skip.code()),
                "explanation": fault.map(|(_, explanation)| explanation),
            })
        };
        let one = |(annotation, value): &(String, String)| json!({"annotation": annotation, "value": value});
        json!({
            "object": self.title,
            "namespace": self.namespace,
            "injected": self.is_injected(),
            "outcome": self.judged.verdict.outcome(),
            "rules": self.rules.iter().map(rule).collect::<Vec<_>>(),
            "overrides": self.overrides.iter().map(one).collect::<Vec<_>>(),
            "warnings": self.judged.warnings,
            "notChecked": NOT_CHECKED,
        })
    }
}

fn rows(case: &Case<'_>, judged: &Judged) -> Vec<Row> {
    let fault = |skip: Skip| (skip, skip.explanation(case));
    let mut rows: Vec<_> =
        RULES.iter().map(|rule| Row { rule: rule.name, fault: rule.check(case).err().map(fault) }).collect();
    rows.push(Row { rule: presence::RULE, fault: presence::check(case).err().map(fault) });
    let Verdict::Skipped(skip) = judged.verdict else { return rows };
    match skip {
        Skip::NotAPod | Skip::Subresource | Skip::NotACreation | Skip::NoObject => {
            rows.insert(0, Row { rule: REQUEST_RULE, fault: Some(fault(skip)) });
        }
        // The pods of a RedisEnterpriseCluster are judged without the sidecar, because the cluster's list is not a pod's
        // list.
        Skip::AlreadyInjected | Skip::Drift | Skip::NameTaken => {
            if let Some(last) = rows.last_mut() {
                last.fault = Some(fault(skip));
            }
        }
        _ => {}
    }
    rows
}

/// The pod's valid overrides. Each is tried alone.
fn overrides(pod: &Value, config: &Config) -> Vec<(String, String)> {
    let all = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let mut overrides = Vec::new();
    for (annotation, value) in all.into_iter().flatten() {
        let Some(text) = value.as_str().filter(|_| annotation.starts_with(PREFIX)) else { continue };
        if [INJECT, STATUS, HASH, PULL_SECRETS].contains(&annotation.as_str()) {
            continue;
        }
        let alone = json!({"metadata": {"annotations": { (annotation.as_str()): text }}});
        if annotations::overridden(&alone, config).warnings.is_empty() {
            overrides.push((annotation.clone(), text.to_owned()));
        }
    }
    overrides
}
