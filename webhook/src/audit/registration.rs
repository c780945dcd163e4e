//! The `MutatingWebhookConfiguration`: what it selects, and whether it can keep pods from being created.

use std::collections::BTreeMap;

use findings::{Code, Finding, Outcome};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

use super::namespace::ENABLED;
use crate::admission::pod::INJECT;
use crate::config::Config;

/// The name of our configuration, and of our webhook in it.
pub(crate) const NAME: &str = "redis-log-shipper";
pub(crate) const WEBHOOK: &str = "inject.redis-log-shipper.io";
/// The API server waits so long for each pod. The manifests say 5.
const LONGEST_TIMEOUT: i32 = 10;

/// Our webhook in `configuration`.
pub(crate) fn webhook(configuration: &MutatingWebhookConfiguration) -> Option<&MutatingWebhook> {
    let mut all = configuration.webhooks.iter().flatten();
    all.find(|webhook| webhook.name == WEBHOOK)
}

/// Whether the webhook is called for the pods that it is for: creations of pods with the configured labels, in namespaces
/// with the label.
pub(crate) fn selectors(webhook: &MutatingWebhook, config: &Config) -> Outcome {
    let mut wrong = Vec::new();
    if !webhook.rules.iter().flatten().any(is_pod_creation) {
        wrong.push("rules do not contain the creation of pods".to_owned());
    }
    let mut namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), "redis".to_owned())]);
    if selects(webhook.namespace_selector.as_ref(), &namespace) {
        wrong.push(format!("namespaceSelector also selects namespaces without the label {INJECT}={ENABLED}"));
    }
    namespace.insert(INJECT.to_owned(), ENABLED.to_owned());
    if !selects(webhook.namespace_selector.as_ref(), &namespace) {
        wrong.push(format!("namespaceSelector does not select namespaces with the label {INJECT}={ENABLED}"));
    }
    let matching = &config.matching;
    let mut pod: BTreeMap<_, _> = matching.labels.iter().cloned().collect();
    pod.insert(matching.cluster_label.clone(), "rec".to_owned());
    if !selects(webhook.object_selector.as_ref(), &pod) {
        let labels: Vec<_> = matching.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        wrong.push(format!("objectSelector does not select pods with the labels {}", labels.join(", ")));
    }
    if wrong.is_empty() {
        return Outcome::Passed(String::new());
    }
    let problem = format!("the MutatingWebhookConfiguration {NAME}: {}", wrong.join("; "));
    let fix = "Apply the manifests again: kubectl apply -k manifests/overlays/openshift (or plain).";
    Outcome::Found(Finding::new(Code::SelectorMatchesNothing, problem, fix))
}

/// Whether the webhook can keep a pod from being created, or delay it.
pub(crate) fn safety(webhook: &MutatingWebhook) -> Outcome {
    let mut differs = Vec::new();
    let mut compare = |field: &str, value: Option<&str>, expected: &str| {
        if value != Some(expected) {
            differs.push(format!("{field} is {}: expected {expected}", value.unwrap_or("not set")));
        }
    };
    compare("failurePolicy", webhook.failure_policy.as_deref(), "Ignore");
    compare("reinvocationPolicy", webhook.reinvocation_policy.as_deref(), "IfNeeded");
    let timeout = webhook.timeout_seconds.unwrap_or(LONGEST_TIMEOUT);
    if timeout > LONGEST_TIMEOUT {
        differs.push(format!("timeoutSeconds is {timeout}: expected 5, and at most {LONGEST_TIMEOUT}"));
    }
    if differs.is_empty() {
        return Outcome::Passed(format!("failurePolicy Ignore, timeoutSeconds {timeout}"));
    }
    let problem = format!("the MutatingWebhookConfiguration {NAME}: {}", differs.join("; "));
    Outcome::Found(Finding::with_names(Code::RegistrationDiffers, problem, &[]))
}

/// Whether `selector` selects an object with these labels. An absent selector selects everything, an invalid one nothing.
pub(crate) fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

fn is_pod_creation(rule: &RuleWithOperations) -> bool {
    let has = |list: &Option<Vec<String>>, words: &[&str]| {
        list.iter().flatten().any(|word| word == "*" || words.contains(&word.as_str()))
    };
    let scope = rule.scope.as_deref().unwrap_or("*");
    has(&rule.api_groups, &[""])
        && has(&rule.api_versions, &["v1"])
        && has(&rule.operations, &["CREATE"])
        && has(&rule.resources, &["pods", "*/*"])
        && ["*", "Namespaced"].contains(&scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Change = fn(&mut Value);

    fn manifest() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base/webhook-configuration.yaml");
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn found(change: impl Fn(&mut Value), check: impl Fn(&MutatingWebhook) -> Outcome) -> String {
        let mut object = manifest();
        change(&mut object["webhooks"][0]);
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(object).unwrap();
        match check(webhook(&configuration).unwrap()) {
            Outcome::Found(finding) => finding.to_string(),
            Outcome::Passed(_) => "ok".to_owned(),
            Outcome::Skipped(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn accepts_the_selectors_of_the_manifests_and_names_changed_ones() {
        let config = Config::default();
        let check = |webhook: &MutatingWebhook| selectors(webhook, &config);
        assert_eq!(found(|_| {}, check), "ok");
        let cases: [(Change, &str); 5] = [
            (|webhook| webhook["namespaceSelector"] = json!({"matchLabels": {"a": "b"}}), "does not select namespaces"),
            (|webhook| webhook["namespaceSelector"] = json!({}), "also selects namespaces without the label"),
            (|webhook| webhook["objectSelector"]["matchLabels"]["app"] = json!("x"), "objectSelector does not select"),
            (|webhook| webhook["rules"][0]["operations"] = json!(["UPDATE"]), "rules do not contain"),
            (|webhook| webhook["rules"][0]["resources"] = json!(["pods/status"]), "rules do not contain"),
        ];
        for (change, said) in cases {
            let finding = found(change, check);
            assert!(finding.starts_with("RLS106") && finding.contains(said), "{finding}");
        }
        // Labels of the configuration that the selector does not know.
        let mut config = Config::default();
        config.matching.labels = vec![("app".to_owned(), "mine".to_owned())];
        assert!(found(|_| {}, |webhook| selectors(webhook, &config)).contains("with the labels app=mine"));
    }

    #[test]
    fn names_settings_with_which_the_webhook_can_do_harm() {
        assert_eq!(found(|_| {}, safety), "ok");
        assert!(found(|webhook| webhook["failurePolicy"] = json!("Fail"), safety).contains("failurePolicy is Fail"));
        assert!(found(|webhook| webhook["timeoutSeconds"] = json!(30), safety).contains("timeoutSeconds is 30"));
    }
}
