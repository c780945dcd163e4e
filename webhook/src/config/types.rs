//! The configuration as a value. The defaults fit OpenShift Logging's gateway.

use runtime::logging::LogLevel;
use runtime::words::{Multiline, Redact};

use super::quantity::Quantity;
use super::words::{PullPolicy, Seccomp, SidecarMode, State};

/// The placeholder for the tenant in [`Config::loki_url`].
pub(super) const TENANT_PLACEHOLDER: &str = "{tenant}";
/// The path of a gateway, before the tenant.
const GATEWAY_PATH: &str = "/api/logs/v1/";
/// The shortest lifetime that the API server grants a token, in seconds.
pub const MIN_TOKEN_SECONDS: u32 = 600;

/// The configuration: what a sidecar consists of, and which pods get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The shipper's image.
    pub image: String,
    /// When the kubelet pulls it.
    pub image_pull_policy: PullPolicy,
    /// Pull secrets in the pod's namespace, besides the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// Images that pods may choose instead. A `*` at the end, after `/`, `:` or `@`, matches any rest.
    pub allowed_images: Vec<String>,
    /// Requests and limits of the sidecar. They are equal, so that a Guaranteed pod stays Guaranteed.
    pub resources: Resources,
    /// The full push URL; `{tenant}` in it stands for [`Config::tenant`].
    pub loki_url: String,
    /// URLs that pods may choose instead. A `*` at the end, after `/` or `:`, matches any rest.
    pub allowed_loki_urls: Vec<String>,
    /// The gateway's tenant. It is also the value of the stream label `log_type`.
    pub tenant: String,
    /// The sources of CA certificates for Loki. Each may be missing.
    pub ca: Vec<CaSource>,
    /// The ServiceAccount token.
    pub token: Token,
    /// Glob patterns for the names of the files to ship. If empty, the shipper's default `*.log` applies.
    pub include: Vec<String>,
    /// Glob patterns for the names of the files to leave out.
    pub exclude: Vec<String>,
    /// Additional stream labels and their values.
    pub labels: Vec<(String, String)>,
    /// Additional stream labels and the fields of the pod with their values, such as `metadata.labels['team']`.
    pub labels_from: Vec<(String, String)>,
    /// How the sidecar is added.
    pub sidecar_mode: SidecarMode,
    /// Where the sidecar keeps its positions.
    pub state: State,
    /// Whether the sidecar has a seccomp profile of its own.
    pub seccomp: Seccomp,
    /// How long the sidecar still ships after SIGTERM. Without it, the shipper's default applies.
    pub drain_timeout: Option<String>,
    /// The lowest severity that the sidecar logs.
    pub log_level: Option<LogLevel>,
    /// The time zone of the files' timestamps.
    pub timezone: Option<String>,
    /// Whether the shipper joins lines that belong together. Without it, the shipper's default applies.
    pub multiline: Option<Multiline>,
    /// Whether the shipper replaces secrets. Without it, the shipper's default applies.
    pub redact: Option<Redact>,
    /// Redaction rules besides those of the shipper, as `NAME=REGEX`.
    pub redact_patterns: Vec<String>,
    /// Rules for entries that the shipper drops on purpose, such as `level=debug`.
    pub drop: Vec<String>,
    /// The ConfigMap in the pod's namespace with the settings that may change while the sidecar runs. It may be missing.
    pub runtime_config: Option<String>,
    /// Which pods are Redis Enterprise's.
    pub matching: Matching,
    /// The namespace of this installation, in which nothing is ever injected.
    pub namespace: String,
}

/// CPU, memory and ephemeral storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// For example `100m`.
    pub cpu: Quantity,
    /// For example `64Mi`.
    pub memory: Quantity,
    /// Needed under a ResourceQuota for ephemeral storage. Without it, the sidecar requests none.
    pub ephemeral_storage: Option<Quantity>,
}

/// A ConfigMap key with CA certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSource {
    /// The ConfigMap's name, in the pod's namespace.
    pub config_map: String,
    /// The key, which is also the file name in the pod.
    pub key: String,
}

/// The projected ServiceAccount token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The lifetime, at least [`MIN_TOKEN_SECONDS`]. The kubelet renews the token long before it expires.
    pub expiration_seconds: u32,
    /// The audience. Without it, the token is for the API server, as OpenShift's gateway requires.
    pub audience: Option<String>,
}

/// Which pods are Redis Enterprise's, and where their logs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// Labels and the values that a pod must have.
    pub labels: Vec<(String, String)>,
    /// The label with the name of the `RedisEnterpriseCluster`. A pod must have it.
    pub cluster_label: String,
    /// The container that writes the logs.
    pub container: String,
    /// The directory of the logs.
    pub log_dir: String,
}

impl Default for Config {
    fn default() -> Self {
        let ca = |config_map: &str, key: &str| CaSource { config_map: config_map.to_owned(), key: key.to_owned() };
        let amount = |text: &str| Quantity::parse(text).unwrap_or_else(|error| unreachable!("{error}"));
        Self {
            image: concat!("ghcr.io/redis-log-shipper/redis-log-shipper:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: PullPolicy::default(),
            image_pull_secrets: Vec::new(),
            allowed_images: Vec::new(),
            resources: Resources { cpu: amount("100m"), memory: amount("64Mi"), ephemeral_storage: None },
            loki_url:
                "https://logging-loki-gateway-http.openshift-logging.svc:8080/api/logs/v1/{tenant}/loki/api/v1/push"
                    .to_owned(),
            allowed_loki_urls: Vec::new(),
            tenant: "application".to_owned(),
            // The first CA signs the certificates of OpenShift's services, the second one the API server's.
            ca: vec![ca("openshift-service-ca.crt", "service-ca.crt"), ca("kube-root-ca.crt", "ca.crt")],
            token: Token { expiration_seconds: 3600, audience: None },
            include: Vec::new(),
            exclude: Vec::new(),
            labels: Vec::new(),
            labels_from: Vec::new(),
            sidecar_mode: SidecarMode::default(),
            state: State::default(),
            seccomp: Seccomp::default(),
            drain_timeout: None,
            log_level: None,
            timezone: None,
            multiline: None,
            redact: None,
            redact_patterns: Vec::new(),
            drop: Vec::new(),
            runtime_config: Some("redis-log-shipper".to_owned()),
            matching: Matching {
                labels: vec![
                    ("app".to_owned(), "redis-enterprise".to_owned()),
                    ("redis.io/role".to_owned(), "node".to_owned()),
                ],
                cluster_label: "redis.io/cluster".to_owned(),
                container: "redis-enterprise-node".to_owned(),
                log_dir: "/var/opt/redislabs/log".to_owned(),
            },
            namespace: "redis-log-shipper".to_owned(),
        }
    }
}

impl Config {
    /// The push URL with the tenant filled in.
    pub fn push_url(&self) -> String {
        self.loki_url.replace(TENANT_PLACEHOLDER, &self.tenant)
    }

    /// The tenant that the push URL names; `None` if the URL leads to no gateway of OpenShift Logging. Only such a gateway asks
    /// the API server for a permission.
    pub fn gateway_tenant(&self) -> Option<String> {
        let url = self.push_url();
        let (_, rest) = url.split_once(GATEWAY_PATH)?;
        let (tenant, _) = rest.split_once('/')?;
        Some(tenant.to_owned()).filter(|tenant| !tenant.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_tenant_of_a_gateway_and_none_of_a_loki() {
        let tenant = |url: &str| {
            let config = Config { loki_url: url.to_owned(), tenant: "audit".to_owned(), ..Config::default() };
            config.gateway_tenant()
        };
        let gateway = "https://gateway:8080/api/logs/v1";
        assert_eq!(tenant(&format!("{gateway}/{{tenant}}/loki/api/v1/push")).as_deref(), Some("audit"));
        assert_eq!(tenant(&format!("{gateway}/application/loki/api/v1/push")).as_deref(), Some("application"));
        assert_eq!(tenant("http://loki:3100/loki/api/v1/push"), None);
        assert_eq!(tenant(&format!("{gateway}//loki/api/v1/push")), None);
    }
}
