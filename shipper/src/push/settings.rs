//! Where to push.

use std::path::PathBuf;

use hyper::Uri;

/// Where to push, and with what.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The full push URL.
    pub url: Uri,
    /// The token file, if a token is to be sent.
    pub token_file: Option<PathBuf>,
    /// CA files; none given means the system's.
    pub ca_files: Vec<PathBuf>,
    /// How many compressed bytes may be pushed per second, if that is limited.
    pub rate_limit: Option<u64>,
}

impl PushSettings {
    /// The tenant, where the URL is that of a LokiStack gateway.
    pub fn tenant(&self) -> Option<&str> {
        let (_, after) = self.url.path().split_once("/api/logs/v1/")?;
        after.split('/').next().filter(|tenant| !tenant.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tenant_in_a_gateway_url_only() {
        let of = |url: &'static str| {
            let url = Uri::from_static(url);
            let settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
            settings.tenant().map(ToOwned::to_owned)
        };
        assert_eq!(of("https://gw:8080/api/logs/v1/application/loki/api/v1/push").as_deref(), Some("application"));
        assert_eq!(of("http://loki:3100/loki/api/v1/push"), None);
    }
}
