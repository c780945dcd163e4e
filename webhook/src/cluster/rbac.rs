//! The permission to push to, or to read, a tenant of the gateway, as YAML.
//!
//! The gateway asks the API server whether the token's user may `create` (to push) or `get` (to read) the resource named
//! like the tenant, with the name `logs`, in group `loki.grafana.com` and in no namespace. So only a ClusterRoleBinding can
//! grant it.

use serde_json::{Value, json};

/// The tenant of workloads' logs.
pub(crate) const APPLICATION: &str = "application";
/// The role that may push to [`APPLICATION`].
pub(crate) const WRITER: &str = "redis-log-shipper-writer";
const READER: &str = "redis-log-shipper-reader";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Whom the permission is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// One ServiceAccount.
    One(String),
    /// All ServiceAccounts of the namespace.
    All,
}

/// What the permission allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    /// To push.
    #[default]
    Write,
    /// To query.
    Read,
}

/// The ClusterRole for `tenant`, and its binding to the accounts of `namespace`.
pub fn objects(namespace: &str, accounts: &Accounts, tenant: &str, access: Access) -> Vec<Value> {
    let (role, verb) = match access {
        Access::Write => (WRITER, "create"),
        Access::Read => (READER, "get"),
    };
    let role = if tenant == APPLICATION { role.to_owned() } else { format!("{role}-{tenant}") };
    // A colon stands in no name of a namespace, an account or a tenant: two permissions never share a binding.
    let (suffix, subject) = match accounts {
        Accounts::One(name) => {
            (format!("{namespace}:{name}"), json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}))
        }
        Accounts::All => {
            (namespace.to_owned(), json!({"kind": "Group", "apiGroup": GROUP, "name": accounts_of(namespace)}))
        }
    };
    vec![
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [{
                "apiGroups": ["loki.grafana.com"],
                "resources": [tenant],
                "resourceNames": ["logs"],
                "verbs": [verb],
            }],
        }),
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{role}:{suffix}")},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }),
    ]
}

/// The group that all ServiceAccounts of a namespace are in.
pub(crate) fn accounts_of(namespace: &str) -> String {
    format!("system:serviceaccounts:{namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_exactly_what_the_gateway_asks_for() {
        for (access, verb) in [(Access::Write, "create"), (Access::Read, "get")] {
            let objects = objects("redis", &Accounts::One("rec".to_owned()), "application", access);
            let rule = &objects[0]["rules"][0];
            assert_eq!(rule["apiGroups"], json!(["loki.grafana.com"]));
            assert_eq!(rule["resources"], json!(["application"]));
            assert_eq!(rule["resourceNames"], json!(["logs"]));
            assert_eq!(rule["verbs"], json!([verb]));
            assert_eq!(objects[1]["kind"], "ClusterRoleBinding");
            assert_eq!(objects[1]["roleRef"]["name"], objects[0]["metadata"]["name"]);
        }
    }

    #[test]
    fn names_a_group_for_all_accounts_of_a_namespace() {
        let objects = objects("redis", &Accounts::All, "audit", Access::Write);
        assert_eq!(objects[1]["subjects"][0]["name"], "system:serviceaccounts:redis");
        assert_eq!(objects[1]["metadata"]["name"], "redis-log-shipper-writer-audit:redis");
    }

    #[test]
    fn no_two_permissions_share_a_binding() {
        let one = |name: &str| Accounts::One(name.to_owned());
        let granted = [
            ("a-b", one("c"), "application"),
            ("a", one("b-c"), "application"),
            ("a-b-c", Accounts::All, "application"),
            ("audit", one("redis"), "application"),
            ("redis", Accounts::All, "audit"),
            ("audit-redis", Accounts::All, "application"),
        ];
        let names: std::collections::BTreeSet<_> = granted
            .iter()
            .flat_map(|(namespace, accounts, tenant)| {
                [Access::Write, Access::Read].map(|access| objects(namespace, accounts, tenant, access).remove(1))
            })
            .map(|binding| binding["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 2 * granted.len(), "{names:?}");
    }
}
