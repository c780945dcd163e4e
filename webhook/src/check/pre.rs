//! Before an installation: whether the API server is new enough, and whether an account may create what the manifests
//! contain.

use anyhow::Context as _;
use findings::{Code, Finding, Outcome, Report};
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};

use super::reader::{CONCURRENCY, Reader, Unread, What};
use super::scope::Scope;
use crate::admission::pod::{items, text};
use crate::cluster::api::is_at_least;
use crate::offline::documents;
use crate::offline::pods::{kind, title};

/// The oldest version of Kubernetes that the webhook is made for.
const OLDEST: (u32, u32) = (1, 27);
const RBAC: &str = "rbac.authorization.k8s.io";
const MONITORING: &str = "monitoring.coreos.com";

/// The roles of the overlays. Nobody may create a role with permissions that they lack.
const ROLES: [(&str, &str); 5] = [
    ("base", include_str!("../../../manifests/base/rbac.yaml")),
    ("self-signed", include_str!("../../../manifests/components/self-signed/rbac.yaml")),
    ("step-aside", include_str!("../../../manifests/components/step-aside/rbac.yaml")),
    ("ask-permissions", include_str!("../../../manifests/components/ask-permissions/rbac.yaml")),
    ("managed-rbac", include_str!("../../../manifests/components/managed-rbac/rbac.yaml")),
];

/// A kind of object in the overlays.
struct Part {
    kind: &'static str,
    group: &'static str,
    resource: &'static str,
    is_namespaced: bool,
}

const fn part(kind: &'static str, group: &'static str, resource: &'static str, is_namespaced: bool) -> Part {
    Part { kind, group, resource, is_namespaced }
}

static KINDS: [Part; 14] = [
    part("Namespace", "", "namespaces", false),
    part("PriorityClass", "scheduling.k8s.io", "priorityclasses", false),
    part("ServiceAccount", "", "serviceaccounts", true),
    part("ClusterRole", RBAC, "clusterroles", false),
    part("ClusterRoleBinding", RBAC, "clusterrolebindings", false),
    part("Role", RBAC, "roles", true),
    part("RoleBinding", RBAC, "rolebindings", true),
    part("Service", "", "services", true),
    part("ConfigMap", "", "configmaps", true),
    part("Deployment", "apps", "deployments", true),
    part("PodDisruptionBudget", "policy", "poddisruptionbudgets", true),
    part("MutatingWebhookConfiguration", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", false),
    part("ServiceMonitor", MONITORING, "servicemonitors", true),
    part("PrometheusRule", MONITORING, "prometheusrules", true),
];

/// Checks what an installation needs. An error means that the API server does not answer.
pub(crate) async fn check(reader: &Reader, scope: &Scope) -> anyhow::Result<Report> {
    let (major, minor) = reader.version().await.context("failed to reach the API server")?;
    let mut report = Report::default();
    report.group("before an installation");
    report.add(format!("Kubernetes {}.{} or newer", OLDEST.0, OLDEST.1), version(&major, &minor));
    report.add("the API server calls mutating webhooks", registration(reader).await);
    report.add(format!("Pod Security of namespace {}", scope.installation), pod_security(reader, scope).await);
    let has_monitoring = reader.get(&format!("/apis/{MONITORING}/v1")).await;
    let kinds = KINDS.iter().filter(|kind| kind.group != MONITORING || has_monitoring.is_ok());
    let asked = stream::iter(kinds).map(|kind| async move {
        let namespace = kind.is_namespaced.then_some(scope.installation.as_str());
        let questions = ["create", "patch"].map(|verb| question((verb, kind.group, kind.resource, None), namespace));
        (kind, missing(reader, &questions).await)
    });
    let answers: Vec<_> = asked.buffered(CONCURRENCY).collect().await;
    for (kind, missing) in answers {
        report.add(format!("you may create and patch the kind {}", kind.kind), outcome(missing, kind.kind));
    }
    if has_monitoring.is_err() {
        let reason = format!("the API server does not serve {MONITORING}; the overlay plain does not need it");
        report.add("you may create alerts and the ServiceMonitor", Outcome::Skipped(reason));
    }
    roles(reader, &mut report).await;
    Ok(report)
}

fn version(major: &str, minor: &str) -> Outcome {
    let said = format!("{major}.{minor}");
    if is_at_least(major, minor, OLDEST) {
        return Outcome::Passed(said);
    }
    let problem = format!("the API server is of version {said}");
    Outcome::Found(Finding::with_names(Code::ApiServerTooOld, problem, &[]))
}

async fn registration(reader: &Reader) -> Outcome {
    let resource = "mutatingwebhookconfigurations";
    match reader.get("/apis/admissionregistration.k8s.io/v1").await {
        Ok(served) if items(&served, "resources").any(|it| text(it, "/name") == Some(resource)) => {
            Outcome::Passed(String::new())
        }
        Ok(_) | Err(Unread::Absent) => {
            let problem = format!("the API server does not serve admissionregistration.k8s.io/v1 {resource}");
            Outcome::Found(Finding::with_names(Code::ApiServerTooOld, problem, &[]))
        }
        Err(unread) => unread.outcome(&What::get("/apis/admissionregistration.k8s.io/v1")),
    }
}

/// The webhook's pods meet `restricted`, the strictest level.
async fn pod_security(reader: &Reader, scope: &Scope) -> Outcome {
    match reader.get(&format!("/api/v1/namespaces/{}", scope.installation)).await {
        Ok(namespace) => {
            let level =
                namespace.pointer("/metadata/labels/pod-security.kubernetes.io~1enforce").and_then(Value::as_str);
            Outcome::Passed(format!("{}; the webhook meets restricted", level.unwrap_or("no level is enforced")))
        }
        Err(Unread::Absent) => Outcome::Passed("the manifests create it; the webhook meets restricted".to_owned()),
        Err(unread) => unread.outcome(&What::get(format!("namespace {}", scope.installation))),
    }
}

/// Whether the account has the permissions of each role, or the one to give what it lacks.
async fn roles(reader: &Reader, report: &mut Report) {
    let anything = [
        question(("escalate", RBAC, "clusterroles", None), None),
        question(("escalate", RBAC, "roles", None), None),
        question(("bind", RBAC, "clusterroles", None), None),
        question(("bind", RBAC, "roles", None), None),
    ];
    if let Ok(missing) = missing(reader, &anything).await
        && missing.is_empty()
    {
        report
            .add("you may create the roles of the manifests", Outcome::Passed("you may escalate and bind".to_owned()));
        return;
    }
    for role in ROLES.iter().flat_map(|(_, text)| roles_in(text)) {
        let missing = missing(reader, &questions(&role)).await;
        report.add(format!("you have the permissions of {}", title(&role)), outcome(missing, &title(&role)));
    }
}

fn outcome(missing: Result<Vec<String>, Unread>, what: &str) -> Outcome {
    match missing {
        Ok(missing) if missing.is_empty() => Outcome::Passed(String::new()),
        Ok(missing) => {
            let problem = format!("your account lacks for {what}: {}", missing.join(", "));
            Outcome::Found(Finding::with_names(Code::MayNotInstall, problem, &[]))
        }
        Err(unread) => unread.outcome(&What::create("selfsubjectaccessreviews")),
    }
}

/// The permissions among `questions` that the account lacks.
async fn missing(reader: &Reader, questions: &[Value]) -> Result<Vec<String>, Unread> {
    const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = stream::iter(questions).map(|question| reader.create(PATH, question));
    let answers: Vec<_> = asked.buffered(CONCURRENCY).collect().await;
    let mut missing = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        if answer?.pointer("/status/allowed") != Some(&Value::Bool(true)) {
            let of = |at: &str| text(question, &format!("/spec/resourceAttributes/{at}")).unwrap_or_default();
            let group = Some(of("group")).filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
            let name = Some(of("name")).filter(|name| !name.is_empty()).map(|name| format!("/{name}"));
            let (group, name) = (group.unwrap_or_default(), name.unwrap_or_default());
            missing.push(format!("{} {}{group}{name}", of("verb"), of("resource")));
        }
    }
    Ok(missing)
}

fn question((verb, group, resource, name): (&str, &str, &str, Option<&str>), namespace: Option<&str>) -> Value {
    let attributes = json!({"verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace});
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    })
}

/// The roles in one of our manifests.
fn roles_in(manifest: &str) -> Vec<Value> {
    let documents = documents::parse("rbac.yaml", manifest).unwrap_or_default();
    documents.into_iter().map(|it| it.object).filter(|it| matches!(kind(it), "Role" | "ClusterRole")).collect()
}

/// One question for each permission of a role.
fn questions(role: &Value) -> Vec<Value> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        items(rule, key).filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let namespace = text(role, "/metadata/namespace");
    let mut questions = Vec::new();
    for rule in items(role, "rules") {
        let names = words(rule, "resourceNames");
        let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    let one = |name: &Option<String>| question((&verb, &group, &resource, name.as_deref()), namespace);
                    questions.extend(names.iter().map(one));
                }
            }
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn manifests() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests")
    }

    /// The components of both overlays.
    fn components() -> Vec<String> {
        let overlays = ["openshift", "plain"].map(|overlay| manifests().join("overlays").join(overlay));
        let of = |overlay: &PathBuf| {
            let text = std::fs::read_to_string(overlay.join("kustomization.yaml")).unwrap();
            let file = documents::parse("file", &text).unwrap().remove(0).object;
            let paths = file["components"].as_array().unwrap().iter();
            paths.map(|path| path.as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        overlays.iter().flat_map(of).collect()
    }

    #[test]
    fn asks_for_every_kind_and_every_role_of_the_overlays() {
        let mut folders = vec![manifests().join("base")];
        for component in components() {
            folders.push(manifests().join("components").join(&component));
            let has_roles = folders.last().unwrap().join("rbac.yaml").exists();
            assert!(!has_roles || ROLES.iter().any(|(name, _)| *name == component), "{component}");
        }
        for folder in folders {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|it| it != "yaml") || path.ends_with("config.yaml") {
                    continue;
                }
                for document in documents::parse("file", &std::fs::read_to_string(&path).unwrap()).unwrap() {
                    let kind = kind(&document.object);
                    let is_known = KINDS.iter().any(|known| known.kind == kind);
                    assert!(is_known || ["Kustomization", "Component"].contains(&kind), "{kind} in {path:?}");
                }
            }
        }
    }

    #[test]
    fn asks_one_question_for_each_permission_of_a_role() {
        let role = roles_in(ROLES[1].1).remove(0);
        let asked: Vec<_> = questions(&role).iter().map(|it| it["spec"]["resourceAttributes"].to_string()).collect();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[0].contains("redis-log-webhook-tls") && asked[0].contains("\"namespace\":\"redis-log-shipper\""));
    }

    #[test]
    fn knows_which_api_server_is_too_old() {
        assert!(matches!(version("1", "27"), Outcome::Passed(_)) && matches!(version("1", "34+"), Outcome::Passed(_)));
        assert!(matches!(version("1", "26"), Outcome::Found(found) if found.code == Code::ApiServerTooOld));
    }
}
