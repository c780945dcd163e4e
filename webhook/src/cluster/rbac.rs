//! The permission to push to a tenant of the gateway, or to read from it, as YAML.
//!
//! The gateway asks the API server whether the token's user may `create` (to push) or `get` (to read) a resource in the
//! group `loki.grafana.com`. The resource has the tenant's name, and the object is named `logs`. For a push, the gateway
//! names no namespace, so only a ClusterRoleBinding grants it. For a read, it asks in every namespace that the query names
//! with `kubernetes_namespace_name`, so a RoleBinding grants the logs of one namespace. If a request for label names or
//! values names no namespace, the gateway lists the projects that the user may see. (Source: observatorium/opa-openshift,
//! `internal/authorizer`.)

use serde_json::{Value, json};

/// The tenant for the logs of workloads.
pub(crate) const APPLICATION: &str = "application";
/// The role that may push to [`APPLICATION`].
pub(crate) const WRITER: &str = "redis-log-shipper-writer";
const READER: &str = "redis-log-shipper-reader";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Who gets the permission.
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

/// A permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The namespace whose pods push, or whose logs are read.
    pub namespace: String,
    /// The namespace of the accounts.
    pub account_namespace: String,
    /// The accounts.
    pub accounts: Accounts,
    /// The gateway's tenant.
    pub tenant: String,
    /// To push or to read.
    pub access: Access,
}

impl Permission {
    /// The ClusterRole for the tenant, and its binding to the accounts.
    pub fn objects(&self) -> [Value; 2] {
        let name = match self.access {
            Access::Write => WRITER,
            Access::Read => READER,
        };
        let role = if self.tenant == APPLICATION { name.to_owned() } else { format!("{name}-{}", self.tenant) };
        [self.role(&role), self.binding(&role)]
    }

    fn role(&self, name: &str) -> Value {
        let logs = |verb: &str| {
            json!({
                "apiGroups": ["loki.grafana.com"],
                "resources": [self.tenant],
                "resourceNames": ["logs"],
                "verbs": [verb],
            })
        };
        let rules = match self.access {
            Access::Write => vec![logs("create")],
            Access::Read => vec![
                logs("get"),
                json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}),
                json!({"apiGroups": ["project.openshift.io"], "resources": ["projects"], "verbs": ["get"]}),
            ],
        };
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        })
    }

    fn binding(&self, role: &str) -> Value {
        let home = &self.account_namespace;
        // Names of namespaces, accounts and tenants contain no colon, so two permissions never share a binding.
        let (suffix, subject) = match &self.accounts {
            Accounts::One(name) => {
                (format!("{home}:{name}"), json!({"kind": "ServiceAccount", "name": name, "namespace": home}))
            }
            Accounts::All => (home.clone(), json!({"kind": "Group", "apiGroup": GROUP, "name": accounts_of(home)})),
        };
        let name = format!("{role}:{suffix}");
        let (kind, metadata) = match self.access {
            Access::Write => ("ClusterRoleBinding", json!({"name": name})),
            Access::Read => ("RoleBinding", json!({"name": name, "namespace": self.namespace})),
        };
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        })
    }
}

/// The group that all ServiceAccounts of a namespace are in.
pub(crate) fn accounts_of(namespace: &str) -> String {
    format!("system:serviceaccounts:{namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(namespace: &str, accounts: Accounts, tenant: &str, access: Access) -> Permission {
        let (namespace, tenant) = (namespace.to_owned(), tenant.to_owned());
        Permission { account_namespace: namespace.clone(), namespace, accounts, tenant, access }
    }

    #[test]
    fn grants_a_push_cluster_wide_and_nothing_else() {
        let one = Accounts::One("rec".to_owned());
        let [role, binding] = permission("redis", one, "application", Access::Write).objects();
        let rules = json!([{
            "apiGroups": ["loki.grafana.com"],
            "resources": ["application"],
            "resourceNames": ["logs"],
            "verbs": ["create"],
        }]);
        assert_eq!(role["rules"], rules);
        assert_eq!(binding["kind"], "ClusterRoleBinding");
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    }

    #[test]
    fn grants_reading_the_logs_of_one_namespace_and_seeing_that_namespace() {
        let one = Accounts::One("grafana".to_owned());
        let mut read = permission("redis", one, "application", Access::Read);
        read.account_namespace = "monitoring".to_owned();
        let [role, binding] = read.objects();
        assert_eq!(role["rules"][0]["verbs"], json!(["get"]));
        assert_eq!(role["rules"][1]["resources"], json!(["namespaces"]));
        assert_eq!((&binding["kind"], &binding["metadata"]["namespace"]), (&json!("RoleBinding"), &json!("redis")));
        let subject = json!({"kind": "ServiceAccount", "name": "grafana", "namespace": "monitoring"});
        assert_eq!(binding["subjects"], json!([subject]));
    }

    #[test]
    fn names_a_group_for_all_accounts_of_a_namespace() {
        let [_, binding] = permission("redis", Accounts::All, "audit", Access::Write).objects();
        assert_eq!(binding["subjects"][0]["name"], "system:serviceaccounts:redis");
        assert_eq!(binding["metadata"]["name"], "redis-log-shipper-writer-audit:redis");
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
        let bindings = granted.iter().flat_map(|(namespace, accounts, tenant)| {
            [Access::Write, Access::Read].map(|access| {
                let [_, binding] = permission(namespace, accounts.clone(), tenant, access).objects();
                binding["metadata"].to_string()
            })
        });
        let names: std::collections::BTreeSet<_> = bindings.collect();
        assert_eq!(names.len(), 2 * granted.len(), "{names:?}");
    }
}
