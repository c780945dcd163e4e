//! The configuration as a value. The defaults fit OpenShift Logging's gateway.

use runtime::logging::LogLevel;
use runtime::words::Multiline;

use super::quantity::Quantity;
use super::words::{PullPolicy, Seccomp, SidecarMode, State};

/// The placeholder for the tenant in [`Config::loki_url`].
pub(super) const TENANT_PLACEHOLDER: &str = "{tenant}";
/// The shortest lifetime that the API server grants a token, in seconds.
pub const MIN_TOKEN_SECONDS: u32 = 600;

/// What an injected sidecar is made of, and who gets one. The defaults fit OpenShift Logging's gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The shipper's image.
    pub image: String,
    /// When the kubelet pulls it.
    pub image_pull_policy: PullPolicy,
    /// Secrets of the pod's namespace with which the kubelet pulls it, besides the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// Images that pods may ask for instead; a `*` at the end, after `/`, `:` or `@`, stands for any rest.
    pub allowed_images: Vec<String>,
    /// Requests and limits of the sidecar: both are set, and equal, so that a Guaranteed pod stays Guaranteed.
    pub resources: Resources,
    /// The full push URL; `{tenant}` in it stands for [`Config::tenant`].
    pub loki_url: String,
    /// URLs that pods may ask for instead; a `*` at the end, after `/` or `:`, stands for any rest.
    pub allowed_loki_urls: Vec<String>,
    /// The gateway's tenant, also the value of the stream label `log_type`.
    pub tenant: String,
    /// Where the CAs of Loki's certificate are; each may be missing.
    pub ca: Vec<CaSource>,
    /// The ServiceAccount token.
    pub token: Token,
    /// Glob patterns of the files to ship, by name. Empty: the shipper's default, `*.log`.
    pub include: Vec<String>,
    /// Glob patterns of the files to leave out.
    pub exclude: Vec<String>,
    /// Stream labels added to those every stream has, with their values.
    pub labels: Vec<(String, String)>,
    /// Stream labels with the field of the pod that their value comes from, such as `metadata.labels['team']`.
    pub labels_from: Vec<(String, String)>,
    /// How the sidecar is added.
    pub sidecar_mode: SidecarMode,
    /// Where positions are kept.
    pub state: State,
    /// Whether the sidecar has a seccomp profile of its own.
    pub seccomp: Seccomp,
    /// How long the sidecar ships the rest after SIGTERM; the shipper's default without it.
    pub drain_timeout: Option<String>,
    /// The lowest severity that the sidecar logs.
    pub log_level: Option<LogLevel>,
    /// In which time zone the files write their times.
    pub timezone: Option<String>,
    /// Whether lines that go on on the next one are joined; the shipper's default without it.
    pub multiline: Option<Multiline>,
    /// Which pods are Redis Enterprise's.
    pub matching: Matching,
    /// The namespace this installation runs in, where nothing is ever injected.
    pub namespace: String,
}

/// CPU, memory and ephemeral storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// For example `100m`.
    pub cpu: Quantity,
    /// For example `64Mi`.
    pub memory: Quantity,
    /// For a ResourceQuota that counts it; without it the sidecar names none.
    pub ephemeral_storage: Option<Quantity>,
}

/// A key of a ConfigMap that holds CA certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSource {
    /// The ConfigMap's name, in the pod's namespace.
    pub config_map: String,
    /// Its key, and the file's name in the pod.
    pub key: String,
}

/// The projected ServiceAccount token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// How long it lives, at least [`MIN_TOKEN_SECONDS`]; the kubelet renews it long before.
    pub expiration_seconds: u32,
    /// For whom it is; OpenShift's gateway wants the API server's own, which is what no value means.
    pub audience: Option<String>,
}

/// Which pods are Redis Enterprise's, and where their logs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// Labels with the value a pod must have.
    pub labels: Vec<(String, String)>,
    /// The label that holds the name of the `RedisEnterpriseCluster`; a pod must have it.
    pub cluster_label: String,
    /// The container that writes the logs.
    pub container: String,
    /// Where it writes them.
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
            // The first signs the certificates of OpenShift's services, the second one the API server's.
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
    /// The push URL with the tenant put in.
    pub fn push_url(&self) -> String {
        self.loki_url.replace(TENANT_PLACEHOLDER, &self.tenant)
    }
}
