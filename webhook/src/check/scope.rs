//! What to check in a cluster.

use crate::config::Config;

/// The scope of a check.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The namespaces; all if there are none.
    pub(crate) namespaces: Vec<String>,
    /// The namespace of the installation.
    pub(crate) installation: String,
    /// The configuration of the webhook, where it is not the one in the cluster.
    pub(crate) config: Option<Config>,
}

impl Scope {
    /// The paths of a resource of the core API: cluster-wide, or for each namespace.
    pub(crate) fn paths(&self, resource: &str) -> Vec<String> {
        if self.namespaces.is_empty() {
            return vec![format!("/api/v1/{resource}")];
        }
        self.namespaces.iter().map(|namespace| format!("/api/v1/namespaces/{namespace}/{resource}")).collect()
    }
}
