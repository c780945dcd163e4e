//! The webhook's configuration: one YAML file, every key with a default, unknown keys refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The placeholder in [`Config::loki_url`] that stands for the tenant.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";

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
    /// The file is not YAML, has an unknown key, or a value of the wrong kind.
    #[error("invalid configuration {path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, column, key and what would be right.
        message: String,
    },
}

/// What an injected sidecar is made of. The defaults fit OpenShift Logging's gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The shipper's image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: PullPolicy,
    /// Requests and limits of the sidecar: both are set, and equal, so that a Guaranteed pod stays Guaranteed.
    pub resources: Resources,
    /// The full push URL; `{tenant}` in it stands for [`Config::tenant`].
    pub loki_url: String,
    /// The gateway's tenant, also the value of the stream label `log_type`.
    pub tenant: String,
    /// How long a projected token lives, in seconds; the API server's least is 600.
    pub token_expiration_seconds: u32,
    /// Glob patterns of the files to ship, relative to the log directory. Empty: the shipper's default, `*.log`.
    pub include: Vec<String>,
    /// Glob patterns of the files to leave out.
    pub exclude: Vec<String>,
    /// Stream labels added to those every stream has.
    pub labels: BTreeMap<String, String>,
    /// The namespace this installation runs in, where nothing is ever injected.
    pub namespace: String,
}

/// When the kubelet pulls the sidecar's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own three values")]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The value as the API server knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// CPU and memory as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// For example `100m`.
    pub cpu: String,
    /// For example `64Mi`.
    pub memory: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: "100m".to_owned(), memory: "64Mi".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: concat!("ghcr.io/redis-log-shipper/redis-log-shipper:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: PullPolicy::default(),
            resources: Resources::default(),
            loki_url:
                "https://logging-loki-gateway-http.openshift-logging.svc:8080/api/logs/v1/{tenant}/loki/api/v1/push"
                    .to_owned(),
            tenant: "application".to_owned(),
            token_expiration_seconds: 3600,
            include: Vec::new(),
            exclude: Vec::new(),
            labels: BTreeMap::new(),
            namespace: "redis-log-shipper".to_owned(),
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Invalid { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // A file of comments only is a document without a value: the defaults.
        let config =
            serde_saphyr::from_str::<Option<Self>>(text).map_err(|error| error.to_string())?.unwrap_or_default();
        let faults = config.faults();
        if faults.is_empty() { Ok(config) } else { Err(faults.join("; ")) }
    }

    /// The push URL with the tenant put in.
    pub fn push_url(&self) -> String {
        self.loki_url.replace(TENANT_PLACEHOLDER, &self.tenant)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.image.trim().is_empty() {
            faults.push("image: must name the shipper's image".to_owned());
        }
        if !self.loki_url.starts_with("https://") && !self.loki_url.starts_with("http://") {
            faults.push(format!("lokiUrl: {:?} must start with https:// or http://", self.loki_url));
        }
        if self.tenant.is_empty() {
            faults.push("tenant: must not be empty".to_owned());
        }
        if self.token_expiration_seconds < 600 {
            faults.push(format!(
                "tokenExpirationSeconds: {} is less than 600, the least the API server grants",
                self.token_expiration_seconds
            ));
        }
        for name in self.labels.keys() {
            if !is_label_name(name) {
                faults.push(format!("labels: {name:?} is no label name, which is [a-zA-Z_][a-zA-Z0-9_]*"));
            }
        }
        faults
    }
}

fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(Config::parse("# nothing yet\n").unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn puts_the_tenant_into_the_push_url() {
        let config = Config::parse("tenant: infrastructure\n").unwrap();
        assert!(config.push_url().contains("/logs/v1/infrastructure/loki/"));
    }

    #[test]
    fn names_line_and_key_of_an_unknown_key() {
        let message = Config::parse("image: a\nimagePulPolicy: Always\n").unwrap_err();
        assert!(message.contains("imagePulPolicy") && message.contains("line 2"), "{message}");
    }

    #[test]
    fn reports_all_bad_values_together() {
        let message = Config::parse("lokiUrl: loki:3100\ntokenExpirationSeconds: 60\nlabels: {a-b: c}\n").unwrap_err();
        for key in ["lokiUrl", "tokenExpirationSeconds", "a-b"] {
            assert!(message.contains(key), "{key} missing in: {message}");
        }
    }
}
