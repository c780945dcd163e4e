//! The webhook's configuration: one YAML file, every key with a default, every fault reported together.

mod checks;
mod quantity;
mod read;
pub mod reload;
pub(crate) mod tree;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use checks::{drain_timeout, glob, image, tenant, url, zone};
pub use quantity::Quantity;
pub use tree::Fault;
pub use words::{LogLevel, Multiline, PullPolicy, Seccomp, SidecarMode, State};

/// The placeholder in [`Config::loki_url`] that stands for the tenant.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";
/// The shortest life of a token that the API server grants, in seconds.
pub const MIN_TOKEN_SECONDS: u32 = 600;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("invalid configuration {path}: {message}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// Unknown keys and bad values, all of them.
    #[error("invalid configuration {path}: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the file's order.
        faults: Vec<Fault>,
    },
}

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
    /// From which severity on the sidecar logs.
    pub log_level: Option<LogLevel>,
    /// In which time zone the files write their times.
    pub timezone: Option<String>,
    /// Whether lines that go on on the next one are joined; the shipper's default without it.
    pub multiline: Option<Multiline>,
    /// Which pods are Redis Enterprise's.
    pub matching: Matching,
    /// The namespace this installation runs in, where nothing is ever injected.
    pub namespace: String,
    /// Whether the API server knows native sidecars, where that is known: found out at the start, never configured.
    pub native_sidecars: Option<bool>,
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
            native_sidecars: None,
        }
    }
}

impl Config {
    /// The push URL with the tenant put in.
    pub fn push_url(&self) -> String {
        self.loki_url.replace(TENANT_PLACEHOLDER, &self.tenant)
    }

    /// Whether the sidecar is to be a native one.
    pub fn is_native(&self) -> bool {
        match self.sidecar_mode {
            SidecarMode::Container => false,
            // Where nothing is known of an API server, the user knows better.
            SidecarMode::Native => self.native_sidecars != Some(false),
            SidecarMode::Auto => self.native_sidecars == Some(true),
        }
    }

    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads and checks the file at `path`, or takes all defaults where none is named.
    pub fn read_or_default(path: Option<&Path>) -> Result<Self, ConfigError> {
        path.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Checks the content of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (config, faults) =
            read::read(text).map_err(|message| ConfigError::Yaml { path: path.to_owned(), message })?;
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faults { path: path.to_owned(), faults }) }
    }
}

/// Whether `given` is one of `allowed`, where a `*` at the end stands for any rest.
pub(crate) fn is_allowed(given: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => given.starts_with(start),
        None => given == pattern,
    })
}
