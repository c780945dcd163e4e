//! The push settings: the URL, the token, the CA files and the rate limit.

use std::path::PathBuf;

use hyper::Uri;

/// Where and how to push.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The full push URL.
    pub url: Uri,
    /// The token file, if a token is sent.
    pub token_file: Option<PathBuf>,
    /// CA files. If there are none, the system's CAs are used.
    pub ca_files: Vec<PathBuf>,
    /// The limit of compressed bytes pushed per second, if there is one.
    pub rate_limit: Option<u64>,
}

impl PushSettings {
    /// The tenant, if the URL is a URL of a LokiStack gateway.
    pub fn tenant(&self) -> Option<&str> {
        let (_, after) = self.url.path().split_once("/api/logs/v1/")?;
        after.split('/').next().filter(|tenant| !tenant.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tenant_only_in_a_gateway_url() {
        let of = |url: &'static str| {
            let url = Uri::from_static(url);
            let settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
            settings.tenant().map(ToOwned::to_owned)
        };
        assert_eq!(of("https://gw:8080/api/logs/v1/application/loki/api/v1/push").as_deref(), Some("application"));
        assert_eq!(of("http://loki:3100/loki/api/v1/push"), None);
    }
}
