//! Who pushes: the ServiceAccount of a pod, and the tenant that its sidecar pushes to.

use serde_json::Value;

use super::names::{is_label, is_subdomain};
use super::pod::text;
use crate::config::Config;

/// The account of a pod that names none.
const DEFAULT: &str = "default";

/// A ServiceAccount and a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pusher {
    /// The account's namespace, which is the pod's.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// The tenant of the gateway.
    pub tenant: String,
}

impl Pusher {
    /// The pusher of a pod. `None` if its sidecar pushes to no gateway, so that it needs no permission, or if a name is invalid.
    pub fn of(pod: &Value, namespace: Option<&str>, config: &Config) -> Option<Self> {
        let tenant = config.gateway_tenant()?;
        let namespace = namespace.or_else(|| text(pod, "/metadata/namespace"))?;
        let account = text(pod, "/spec/serviceAccountName").filter(|name| !name.is_empty()).unwrap_or(DEFAULT);
        let (namespace, account) = (namespace.to_owned(), account.to_owned());
        (is_label(&namespace) && is_subdomain(&account)).then_some(Self { namespace, account, tenant })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_the_account_of_the_pod_and_the_tenant_of_the_gateway() {
        let config = Config::default();
        let of = |spec: Value| Pusher::of(&json!({"spec": spec}), Some("redis"), &config);
        let account = |spec: Value| of(spec).map(|pusher| pusher.account);
        assert_eq!(account(json!({"serviceAccountName": "rec"})).as_deref(), Some("rec"));
        assert_eq!(account(json!({})).as_deref(), Some("default"));
        assert_eq!(of(json!({})).map(|pusher| pusher.tenant).as_deref(), Some("application"));
        assert_eq!(account(json!({"serviceAccountName": "../secrets"})), None);
        let plain = Config { loki_url: "http://loki:3100/loki/api/v1/push".to_owned(), ..Config::default() };
        assert_eq!(Pusher::of(&json!({}), Some("redis"), &plain), None);
    }
}
