//! Whether a ServiceAccount may push to a tenant of the gateway, and what is wrong if it may not.
//!
//! Asks the API server the gateway's own question (see `rbac`), which names no namespace. If the answer is no, the same
//! question about the account's namespace shows a RoleBinding. To find a ClusterRoleBinding of another account takes the
//! permission to list bindings, which the caller may lack: then the finding does not name it.

use std::time::Duration;

use findings::{Code, Finding};
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SubjectAccessReview};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Subject};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use super::rbac::accounts_of;
use crate::admission::pusher::Pusher;

const LOKI: &str = "loki.grafana.com";
const RBAC: &str = "rbac.authorization.k8s.io";
/// The page size of a list.
const PAGE: u32 = 500;
/// The limit for the roles that are read for one account.
const MOST_ROLES: usize = 20;
/// The timeout for all requests about one account.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The API server refused a request, or failed.
    #[error("failed to ask the API server whether a ServiceAccount may push")]
    Api(#[from] kube::Error),
    /// It did not answer in time.
    #[error("failed to ask the API server whether a ServiceAccount may push: no answer within {TIMEOUT:?}")]
    Slow,
}

impl AskError {
    /// Whether this process lacks the permission to ask.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 403)
    }
}

/// What keeps `pusher` from pushing; `None` if it may push.
pub async fn ask(client: &kube::Client, pusher: &Pusher) -> Result<Option<Finding>, AskError> {
    let asked =
        async {
            if may_push(client, pusher, None).await? {
                return Ok(None);
            }
            if may_push(client, pusher, Some(&pusher.namespace)).await? {
                return Ok(Some(role_binding_only(pusher)));
            }
            let other = if may_list_bindings(client).await? { other_binding(client, pusher).await? } else { None };
            Ok(Some(other.map_or_else(
                || may_not_push(pusher),
                |other| binding_of_another(pusher, &other.binding, &other.account),
            )))
        };
    tokio::time::timeout(TIMEOUT, asked).await.unwrap_or(Err(AskError::Slow))
}

async fn may_push(client: &kube::Client, pusher: &Pusher, namespace: Option<&str>) -> kube::Result<bool> {
    let Pusher { namespace: home, account, tenant } = pusher;
    let review: SubjectAccessReview = object(json!({"spec": {
        "user": format!("system:serviceaccount:{home}:{account}"),
        "groups": ["system:serviceaccounts", accounts_of(home), "system:authenticated"],
        "resourceAttributes": {
            "group": LOKI, "resource": tenant, "name": "logs", "verb": "create", "namespace": namespace,
        },
    }}))?;
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Whether this process may list bindings. It asks first: a refused request would look like an attack in the audit log.
async fn may_list_bindings(client: &kube::Client) -> kube::Result<bool> {
    let attributes = json!({"group": RBAC, "resource": "clusterrolebindings", "verb": "list"});
    let review: SelfSubjectAccessReview = object(json!({"spec": {"resourceAttributes": attributes}}))?;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// A ClusterRoleBinding that grants the push to another account of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OtherBinding {
    binding: String,
    account: String,
}

async fn other_binding(client: &kube::Client, pusher: &Pusher) -> kube::Result<Option<OtherBinding>> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut asked = 0;
    loop {
        let listed = bindings.list(&page).await?;
        for binding in listed.items {
            let Some(other) = other_account(pusher, binding.subjects.as_deref().unwrap_or_default()) else { continue };
            if asked == MOST_ROLES {
                return Ok(None);
            }
            asked += 1;
            let role = match cluster_roles.get_opt(&binding.role_ref.name).await {
                Ok(role) => role,
                // Without the permission to read roles, what the binding grants is unknown.
                Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
                Err(error) => return Err(error),
            };
            let rules = role.and_then(|role| role.rules).unwrap_or_default();
            if grants(&rules, &pusher.tenant) {
                let binding = binding.metadata.name.unwrap_or_default();
                return Ok(Some(OtherBinding { binding, account: other.to_owned() }));
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(None),
        }
    }
}

/// The first ServiceAccount of the same namespace. The bindings of other namespaces are none of our business.
pub(crate) fn other_account<'a>(pusher: &Pusher, subjects: &'a [Subject]) -> Option<&'a str> {
    let is_near = |subject: &&Subject| {
        subject.kind == "ServiceAccount"
            && subject.namespace.as_ref() == Some(&pusher.namespace)
            && subject.name != pusher.account
    };
    subjects.iter().find(is_near).map(|subject| subject.name.as_str())
}

/// Whether a role with these rules grants a push to `tenant`.
pub(crate) fn grants(rules: &[PolicyRule], tenant: &str) -> bool {
    let has = |list: Option<&Vec<String>>, word: &str| list.into_iter().flatten().any(|it| it == word || it == "*");
    let is_for_logs = |rule: &PolicyRule| match rule.resource_names.as_deref() {
        None | Some([]) => true,
        Some(names) => names.iter().any(|name| name == "logs"),
    };
    rules.iter().any(|rule| {
        has(rule.api_groups.as_ref(), LOKI)
            && has(rule.resources.as_ref(), tenant)
            && has(Some(&rule.verbs), "create")
            && is_for_logs(rule)
    })
}

fn may_not_push(pusher: &Pusher) -> Finding {
    let Pusher { namespace, account, tenant } = pusher;
    finding(
        Code::MayNotPush,
        pusher,
        format!("ServiceAccount {namespace}/{account} may not push to the tenant {tenant}"),
    )
}

/// The finding for a permission in one namespace only.
pub(crate) fn role_binding_only(pusher: &Pusher) -> Finding {
    let Pusher { namespace, account, tenant } = pusher;
    finding(
        Code::RoleBindingOnly,
        pusher,
        format!(
            "a RoleBinding lets ServiceAccount {namespace}/{account} push to the tenant {tenant} in its namespace only, and \
             the gateway asks for the permission cluster-wide"
        ),
    )
}

/// The finding for a permission of the account `other`.
pub(crate) fn binding_of_another(pusher: &Pusher, binding: &str, other: &str) -> Finding {
    let Pusher { namespace, account, tenant } = pusher;
    finding(
        Code::BindingOfAnotherAccount,
        pusher,
        format!(
            "ClusterRoleBinding {binding} lets ServiceAccount {namespace}/{other} push to the tenant {tenant}, and the pod \
             runs as {namespace}/{account}"
        ),
    )
}

fn finding(code: Code, pusher: &Pusher, problem: String) -> Finding {
    let Pusher { namespace, account, tenant } = pusher;
    let names = [("NAMESPACE", namespace.as_str()), ("SERVICEACCOUNT", account), ("TENANT", tenant)];
    Finding::with_names(code, problem, &names)
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> kube::Result<K> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pusher() -> Pusher {
        Pusher { namespace: "redis".to_owned(), account: "rec".to_owned(), tenant: "application".to_owned() }
    }

    fn rule(change: (&str, Value)) -> PolicyRule {
        let mut rule = json!({
            "apiGroups": [LOKI], "resources": ["application"], "resourceNames": ["logs"], "verbs": ["create"],
        });
        rule[change.0] = change.1;
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn knows_which_rules_grant_a_push() {
        for (member, value, expected) in [
            ("verbs", json!(["create"]), true),
            ("verbs", json!(["*"]), true),
            ("verbs", json!(["get"]), false),
            ("resources", json!(["*"]), true),
            ("resources", json!(["logs"]), false),
            ("resourceNames", json!(null), true),
            ("resourceNames", json!([]), true),
            ("resourceNames", json!(["application"]), false),
            ("apiGroups", json!(["*"]), true),
            ("apiGroups", json!([""]), false),
        ] {
            let rules = [rule((member, value.clone()))];
            assert_eq!(grants(&rules, "application"), expected, "{member}: {value}");
        }
    }

    #[test]
    fn blames_only_bindings_of_the_same_namespace() {
        let subject = |kind: &str, namespace: &str, name: &str| Subject {
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            api_group: None,
        };
        let strangers = [subject("ServiceAccount", "logging", "collector"), subject("User", "redis", "ann")];
        assert_eq!(other_account(&pusher(), &strangers), None);
        let near =
            [strangers, [subject("ServiceAccount", "redis", "rec"), subject("ServiceAccount", "redis", "other")]];
        assert_eq!(other_account(&pusher(), &near.concat()), Some("other"));
    }

    #[test]
    fn names_the_account_and_the_command_that_helps() {
        for (finding, code, words) in [
            (may_not_push(&pusher()), "RLS301", "ServiceAccount redis/rec may not push to the tenant application"),
            (role_binding_only(&pusher()), "RLS302", "in its namespace only"),
            (
                binding_of_another(&pusher(), "writers", "other"),
                "RLS303",
                "ClusterRoleBinding writers lets ServiceAccount redis/other",
            ),
        ] {
            assert_eq!(finding.code.as_str(), code);
            assert!(finding.problem.contains(words), "{finding}");
            let command = "redis-log-webhook rbac --namespace redis --service-account rec --tenant application";
            assert!(finding.fix.contains(command), "{finding}");
        }
    }
}
