//! Roles and bindings in files: whether they let an account push. In a cluster, the API server itself answers this.

use findings::{Finding, Outcome};
use k8s_openapi::api::rbac::v1::{PolicyRule, Subject};
use serde_json::Value;

use crate::admission::pod::{items, name, text};
use crate::admission::pusher::Pusher;
use crate::cluster::access;
use crate::cluster::rbac::{APPLICATION, WRITER, accounts_of};

/// OpenShift Logging's own role, which exists in the cluster and not in the files.
const OPENSHIFT_WRITER: &str = "cluster-logging-write-application-logs";

/// Whether `bindings` let `pusher` push. `None` if no binding grants this to anybody of the namespace.
pub(crate) fn judge(pusher: &Pusher, bindings: &[&Value], roles: &[&Value]) -> Option<Outcome> {
    let granting = || bindings.iter().filter(|binding| grants(binding, roles, &pusher.tenant));
    let is = |binding: &&&Value, kind: &str| text(binding, "/kind") == Some(kind);
    let holds = |binding: &&&Value| subjects(binding).iter().any(|subject| is_of(subject, pusher));
    if granting().any(|binding| is(&binding, "ClusterRoleBinding") && holds(&binding)) {
        return Some(Outcome::Passed(String::new()));
    }
    if granting().any(|binding| is(&binding, "RoleBinding") && holds(&binding)) {
        return Some(Outcome::Found(access::role_binding_only(pusher)));
    }
    granting().filter(|binding| is(binding, "ClusterRoleBinding")).find_map(|binding| {
        let subjects = subjects(binding);
        let other = access::other_account(pusher, &subjects)?;
        let named = binding.get("metadata").and_then(name).unwrap_or_default();
        let finding: Finding = access::binding_of_another(pusher, named, other);
        Some(Outcome::Found(finding))
    })
}

/// Whether the role of a binding grants a push to `tenant`.
fn grants(binding: &Value, roles: &[&Value], tenant: &str) -> bool {
    let Some(named) = text(binding, "/roleRef/name") else { return false };
    let kind = text(binding, "/roleRef/kind");
    let role =
        roles.iter().find(|role| role.get("metadata").and_then(name) == Some(named) && text(role, "/kind") == kind);
    match role {
        Some(role) => {
            let allowed = items(role, "rules").filter_map(|it| serde_json::from_value::<PolicyRule>(it.clone()).ok());
            access::grants(&allowed.collect::<Vec<_>>(), tenant)
        }
        None => tenant == APPLICATION && [WRITER, OPENSHIFT_WRITER].contains(&named),
    }
}

fn subjects(binding: &Value) -> Vec<Subject> {
    items(binding, "subjects").filter_map(|subject| serde_json::from_value(subject.clone()).ok()).collect()
}

fn is_of(subject: &Subject, Pusher { namespace, account, .. }: &Pusher) -> bool {
    match subject.kind.as_str() {
        "ServiceAccount" => subject.name == *account && subject.namespace.as_ref() == Some(namespace),
        "Group" => {
            let groups =
                [accounts_of(namespace), "system:serviceaccounts".to_owned(), "system:authenticated".to_owned()];
            groups.contains(&subject.name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::rbac::{Access, Accounts, Permission};
    use serde_json::json;

    #[test]
    fn names_a_binding_that_does_not_let_the_account_push() {
        let pusher =
            Pusher { namespace: "redis".to_owned(), account: "rec".to_owned(), tenant: "application".to_owned() };
        let of = |account: &str, change: fn(&mut Value)| {
            let permission = Permission {
                namespace: "redis".to_owned(),
                account_namespace: "redis".to_owned(),
                accounts: Accounts::One(account.to_owned()),
                tenant: "application".to_owned(),
                access: Access::Write,
            };
            let [role, mut binding] = permission.objects();
            change(&mut binding);
            match judge(&pusher, &[&binding], &[&role]) {
                None => "none",
                Some(Outcome::Found(finding)) => finding.code.as_str(),
                Some(_) => "ok",
            }
        };
        assert_eq!(of("rec", |_| {}), "ok");
        assert_eq!(of("rec", |binding| binding["kind"] = json!("RoleBinding")), "RLS302");
        assert_eq!(of("other", |_| {}), "RLS303");
        assert_eq!(of("other", |binding| binding["subjects"][0]["namespace"] = json!("elsewhere")), "none");
        assert_eq!(of("rec", |binding| binding["roleRef"]["name"] = json!("view")), "none");
        // A role that is not among the files.
        assert_eq!(of("rec", |binding| binding["roleRef"]["name"] = json!(OPENSHIFT_WRITER)), "ok");
    }
}
