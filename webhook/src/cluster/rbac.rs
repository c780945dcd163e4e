//! The permission a namespace needs to push, as YAML.
//!
//! The gateway asks the API server whether the token's user may `create` the resource named like the tenant, with the
//! name `logs`, in group `loki.grafana.com` and in no namespace. So only a ClusterRoleBinding can grant it.

use serde_json::{Value, json};

/// Whom the permission is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One ServiceAccount.
    ServiceAccount(String),
    /// All ServiceAccounts of the namespace.
    AllServiceAccounts,
}

/// The ClusterRole that may push to `tenant`, and its binding to the writers of `namespace`.
pub fn objects(namespace: &str, writers: &Writers, tenant: &str) -> Vec<Value> {
    let role = if tenant == "application" {
        "redis-log-shipper-writer".to_owned()
    } else {
        format!("redis-log-shipper-writer-{tenant}")
    };
    let group = "rbac.authorization.k8s.io";
    let (suffix, subject) = match writers {
        Writers::ServiceAccount(name) => {
            (format!("{namespace}-{name}"), json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}))
        }
        Writers::AllServiceAccounts => (
            namespace.to_owned(),
            json!({"kind": "Group", "apiGroup": group, "name": format!("system:serviceaccounts:{namespace}")}),
        ),
    };
    vec![
        json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [{
                "apiGroups": ["loki.grafana.com"],
                "resources": [tenant],
                "resourceNames": ["logs"],
                "verbs": ["create"],
            }],
        }),
        json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{role}-{suffix}")},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_exactly_what_the_gateway_asks_for() {
        let objects = objects("redis", &Writers::ServiceAccount("rec".to_owned()), "application");
        let rule = &objects[0]["rules"][0];
        assert_eq!(rule["apiGroups"], json!(["loki.grafana.com"]));
        assert_eq!(rule["resources"], json!(["application"]));
        assert_eq!(rule["resourceNames"], json!(["logs"]));
        assert_eq!(rule["verbs"], json!(["create"]));
        assert_eq!(objects[1]["kind"], "ClusterRoleBinding");
        assert_eq!(objects[1]["roleRef"]["name"], objects[0]["metadata"]["name"]);
    }

    #[test]
    fn names_a_group_for_all_accounts_of_a_namespace() {
        let objects = objects("redis", &Writers::AllServiceAccounts, "audit");
        assert_eq!(objects[1]["subjects"][0]["name"], "system:serviceaccounts:redis");
        assert_eq!(objects[1]["metadata"]["name"], "redis-log-shipper-writer-audit-redis");
    }
}
