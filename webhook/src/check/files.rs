//! Checks objects and configurations in files, without a cluster.

use std::collections::{BTreeMap, BTreeSet};

use findings::{Outcome, Report};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::Value;

use crate::admission::annotations::overridden;
use crate::admission::pod::name;
use crate::admission::pusher::Pusher;
use crate::admission::skip::Skip;
use crate::admission::{Judged, Verdict};
use crate::audit::{bindings, configuration, namespace, pod, registration};
use crate::config::Config;
use crate::offline::documents::Document;
use crate::offline::pods::{Site, kind, sites, title};

/// The ConfigMap with the configuration, and its key.
pub(crate) const CONFIG_MAP: &str = "redis-log-webhook";
pub(crate) const CONFIG_KEY: &str = "config.yaml";

/// Stands for a namespace that nobody named.
const NO_NAMESPACE: &str = "NAMESPACE";

/// Checks `documents`. Without a configuration among them, `config` applies. Objects without a namespace are in `namespace`.
pub(crate) fn check(documents: &[Document], config: Config, namespace: Option<&str>) -> Report {
    let mut report = Report::default();
    let objects: Vec<_> = documents.iter().flat_map(objects).collect();
    let config = configurations(&objects, config, &mut report);
    registrations(&objects, config.as_ref(), &mut report);
    let Some(config) = config else {
        report.group("pods");
        report.add("pods get the sidecar", Outcome::Skipped("the configuration is invalid".to_owned()));
        return report;
    };
    let (mut pods_of, mut pushers) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    report.group("pods");
    for object in &objects {
        for site in sites(object.value) {
            let Some(place) = object.value.pointer(&site.pointer) else { continue };
            let of = site.namespace.as_deref().or(namespace).unwrap_or(NO_NAMESPACE).to_owned();
            if one(&site, place, (&of, object.source), &config, &mut report) {
                let pod = site.pod(place);
                // The account of a pod that its operator has yet to create is not known.
                if pod.pointer("/spec/serviceAccountName").is_some() && of != NO_NAMESPACE {
                    pushers.extend(Pusher::of(&pod, Some(&of), &overridden(&pod, &config).config));
                }
                *pods_of.entry(of).or_default() += 1;
            }
        }
    }
    namespaces(&objects, &pods_of, &config, &mut report);
    permissions(&objects, &pushers, &mut report);
    report
}

/// One object of a file.
#[derive(Clone, Copy)]
struct Object<'a> {
    source: &'a str,
    value: &'a Value,
    text: Option<&'a str>,
}

/// The objects of a document. The items of a list stand for themselves.
fn objects(document: &Document) -> Vec<Object<'_>> {
    let source = document.source.as_str();
    let items = document.object.get("items").and_then(Value::as_array);
    match items {
        Some(items) if kind(&document.object) == "List" => {
            items.iter().map(|value| Object { source, value, text: None }).collect()
        }
        _ => vec![Object { source, value: &document.object, text: document.text.as_deref() }],
    }
}

/// Checks every configuration. Returns the last one; `None` if one is invalid.
fn configurations(objects: &[Object<'_>], default: Config, report: &mut Report) -> Option<Config> {
    let mut valid = Some(default);
    report.group("configuration");
    for object in objects {
        let Some((source, text)) = configuration_of(object) else { continue };
        let check = format!("{source} is valid");
        match configuration::read(&source, &text) {
            Ok(read) => {
                report.add(check, Outcome::Passed(String::new()));
                valid = valid.map(|_| read);
            }
            Err(faults) => {
                valid = None;
                for fault in faults {
                    report.add(check.clone(), Outcome::Found(fault));
                }
            }
        }
    }
    valid
}

/// A configuration file itself, or the ConfigMap that holds one; with its name.
fn configuration_of(object: &Object<'_>) -> Option<(String, String)> {
    let value = object.value;
    if kind(value) == "ConfigMap" && value.get("metadata").and_then(name) == Some(CONFIG_MAP) {
        let text = value.get("data")?.get(CONFIG_KEY)?.as_str()?;
        return Some((format!("{}: {}: {CONFIG_KEY}", object.source, title(value)), text.to_owned()));
    }
    let is_file = value.is_object() && value.get("kind").is_none() && value.get("apiVersion").is_none();
    is_file.then(|| (object.source.to_owned(), object.text.map_or_else(|| value.to_string(), ToOwned::to_owned)))
}

fn registrations(objects: &[Object<'_>], config: Option<&Config>, report: &mut Report) {
    report.group("installation");
    let ours = objects.iter().filter(|object| {
        kind(object.value) == "MutatingWebhookConfiguration"
            && object.value.get("metadata").and_then(name) == Some(registration::NAME)
    });
    for object in ours {
        let check = format!("{}: {}", object.source, title(object.value));
        let parsed = serde_json::from_value::<MutatingWebhookConfiguration>(object.value.clone());
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                report.add(check, Outcome::Skipped(format!("it cannot be parsed: {error}")));
                continue;
            }
        };
        let Some(webhook) = registration::webhook(&parsed) else {
            report.add(check, Outcome::Skipped(format!("it has no webhook {}", registration::WEBHOOK)));
            continue;
        };
        if let Some(config) = config {
            report.add(format!("{check} selects the right pods"), registration::selectors(webhook, config));
        }
        report.add(format!("{check} cannot keep pods from being created"), registration::safety(webhook));
    }
}

/// Checks the pod of one site. Returns whether it is a Redis Enterprise pod.
fn one(site: &Site, place: &Value, (namespace, source): (&str, &str), config: &Config, report: &mut Report) -> bool {
    let judged: Judged = site.judge(place, Some(namespace), config);
    let check = format!("{source}: {} gets the sidecar", site.title);
    if let Verdict::Skipped(Skip::NotRedisEnterprise | Skip::NoNodeContainer) = judged.verdict {
        report.add(check, Outcome::Skipped("it is not a Redis Enterprise node".to_owned()));
        return false;
    }
    let title = site.title.rsplit('/').next().unwrap_or_default();
    report.add(check, pod::left_alone(&judged, (namespace, title)));
    for finding in pod::invalid_annotations(&site.pod(place), namespace, config) {
        report.add(format!("{source}: annotations of {}", site.title), Outcome::Found(finding));
    }
    true
}

/// Checks the labels of the namespaces that the files contain.
fn namespaces(objects: &[Object<'_>], pods: &BTreeMap<String, usize>, config: &Config, report: &mut Report) {
    report.group("namespaces");
    for (name_of, pods) in pods {
        let is_it = |object: &&Object<'_>| {
            kind(object.value) == "Namespace" && object.value.get("metadata").and_then(name) == Some(name_of)
        };
        let outcome = objects.iter().find(is_it).map_or_else(
            || Outcome::Skipped("the files do not contain it".to_owned()),
            |object| namespace::label(object.value, *pods, &config.namespace),
        );
        report.add(format!("namespace {name_of} is labelled"), outcome);
    }
}

/// Checks the bindings that the files contain. Files without any say nothing about permissions.
fn permissions(objects: &[Object<'_>], pushers: &BTreeSet<Pusher>, report: &mut Report) {
    let of = |kinds: [&str; 2]| -> Vec<&Value> {
        objects.iter().map(|object| object.value).filter(|value| kinds.contains(&kind(value))).collect()
    };
    let (bindings, roles) = (of(["ClusterRoleBinding", "RoleBinding"]), of(["ClusterRole", "Role"]));
    report.group("permissions");
    for pusher @ Pusher { namespace, account, tenant } in pushers {
        if let Some(outcome) = bindings::judge(pusher, &bindings, &roles) {
            report.add(format!("ServiceAccount {namespace}/{account} may push to the tenant {tenant}"), outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline::documents::{parse, to_yaml};
    use crate::offline::inject::inject;

    fn codes(text: &str) -> Vec<String> {
        let report = check(&parse("file", text).unwrap(), Config::default(), Some("redis"));
        report.findings().map(|finding| finding.code.to_string()).collect()
    }

    fn fixture(name: &str) -> String {
        let path = format!("{}/tests/golden/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    /// The vanilla pod with its sidecar.
    fn injected() -> String {
        let pod = parse("file", &fixture("a-vanilla.pod")).unwrap().remove(0).object;
        to_yaml(&inject(&pod, None, &Config::default()).unwrap().object).unwrap()
    }

    #[test]
    fn finds_nothing_where_all_is_right() {
        assert_eq!(codes(&fixture("a-vanilla.pod")), [""; 0]);
        assert_eq!(codes(&injected()), [""; 0]);
        assert_eq!(codes("lokiUrl: http://loki:3100/loki/api/v1/push\n"), [""; 0]);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base/webhook-configuration.yaml");
        assert_eq!(codes(&std::fs::read_to_string(manifest).unwrap()), [""; 0]);
    }

    #[test]
    fn names_each_fault_of_a_pod_by_its_code() {
        let pod = fixture("a-vanilla.pod");
        let annotated = |annotation: &str| {
            let annotations = format!("  annotations:\n    redis-log-shipper.io/{annotation}\n  labels:\n");
            codes(&pod.replacen("  labels:\n", &annotations, 1))
        };
        assert_eq!(annotated("image: registry.evil/shipper:1"), ["RLS206"]);
        assert_eq!(annotated("loki-url: https://evil/push"), ["RLS207"]);
        assert_eq!(annotated("image: 'a b'"), ["RLS205"]);
        assert_eq!(annotated("tenat: audit"), ["RLS205"]);
        assert_eq!(annotated("inject: maybe"), ["RLS205"]);
        assert_eq!(annotated("inject: 'false'"), [""; 0]);
        assert_eq!(codes(&fixture("c-ephemeral.pod")), ["RLS204"]);
        let injected = injected();
        assert_eq!(codes(&format!("{injected}\n---\ntenant: audit\n")), ["RLS208"]);
        assert_eq!(codes(&injected.replace("redis-log-shipper.io/hash", "hash")), ["RLS212"]);
    }

    #[test]
    fn judges_pods_by_the_configuration_in_the_files_and_by_none_if_it_is_invalid() {
        let pod = fixture("a-vanilla.pod").replacen(
            "  labels:\n",
            "  annotations:\n    redis-log-shipper.io/image: registry/shipper:1\n  labels:\n",
            1,
        );
        assert_eq!(codes(&pod), ["RLS206"]);
        assert_eq!(codes(&format!("{pod}\n---\nallowedImages: ['registry/*']\n")), [""; 0]);
        let map = "kind: ConfigMap\nmetadata: {name: redis-log-webhook}\ndata: {config.yaml: \"allowedImages: ['registry/*']\"}";
        assert_eq!(codes(&format!("{pod}\n---\n{map}\n")), [""; 0]);
        assert_eq!(codes(&format!("{pod}\n---\nalowedImages: []\ntenant: ..\n")), ["RLS107", "RLS107"]);
    }

    #[test]
    fn checks_the_label_of_a_namespace_among_the_files() {
        let pod = fixture("a-vanilla.pod");
        let namespace = |labels: &str| {
            let name = pod.lines().find_map(|line| line.strip_prefix("  namespace: ")).unwrap_or("redis");
            codes(&format!("{pod}\n---\nkind: Namespace\napiVersion: v1\nmetadata: {{name: {name}, labels: {labels}}}"))
        };
        assert_eq!(namespace("{}"), ["RLS201"]);
        assert_eq!(namespace("{redis-log-shipper.io/inject: enabled}"), [""; 0]);
    }
    #[test]
    fn checks_the_bindings_among_the_files() {
        let pod = fixture("a-vanilla.pod");
        let namespace = pod.lines().find_map(|line| line.strip_prefix("  namespace: ")).unwrap_or("redis");
        let account =
            pod.lines().find_map(|line| line.strip_prefix("  serviceAccountName: ")?.split(' ').next()).unwrap();
        let bound = |kind: &str, account: &str| {
            let binding = format!(
                "kind: {kind}\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {{name: b}}\n\
                 roleRef: {{kind: ClusterRole, name: redis-log-shipper-writer}}\n\
                 subjects: [{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}]\n"
            );
            codes(&format!("{pod}\n---\n{binding}"))
        };
        assert_eq!(bound("ClusterRoleBinding", account), [""; 0]);
        assert_eq!(bound("RoleBinding", account), ["RLS302"]);
        assert_eq!(bound("ClusterRoleBinding", "other"), ["RLS303"]);
    }
}
