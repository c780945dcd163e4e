//! The API server: whether there is one, and whether it supports native sidecars.

use std::time::Duration;

use anyhow::Context as _;

use runtime::chain;

/// How long the start waits for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Kubernetes enables native sidecars by default since 1.29.
const NATIVE_SIDECARS: (u32, u32) = (1, 29);

/// A client for the cluster of this process or of the current kubeconfig, and whether the API server supports native
/// sidecars. `None` if no API server answers: the webhook works without one.
pub(crate) async fn connect() -> Option<(kube::Client, bool)> {
    let asked = async {
        let client = kube::Client::try_default().await?;
        let version = client.apiserver_version().await?;
        anyhow::Ok((client, version))
    };
    let error = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((client, version))) => {
            let native = knows_native_sidecars(&version.major, &version.minor);
            tracing::info!(version = version.git_version, native_sidecars = native, "found the API server");
            return Some((client, native));
        }
        Ok(Err(error)) => chain(&*error),
        Err(_elapsed) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::warn!(error, "found no API server; the webhook creates no Events, and sidecarMode auto means container");
    None
}

/// A client for flags that need an API server; `None` if `needed` is false.
pub(crate) async fn needed(needed: bool) -> anyhow::Result<Option<kube::Client>> {
    if !needed {
        return Ok(None);
    }
    let client = kube::Client::try_default().await;
    client.map(Some).context("--self-signed and --managed-rbac need an API server: run in a pod, or set KUBECONFIG")
}

pub(crate) fn knows_native_sidecars(major: &str, minor: &str) -> bool {
    is_at_least(major, minor, NATIVE_SIDECARS)
}

/// Whether a version is `least` or newer. A minor version may have a suffix such as `+`.
pub(crate) fn is_at_least(major: &str, minor: &str, least: (u32, u32)) -> bool {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    (number(major), number(minor)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_since_which_version_native_sidecars_are_supported() {
        assert!(
            knows_native_sidecars("1", "29") && knows_native_sidecars("1", "34+") && knows_native_sidecars("2", "0")
        );
        assert!(!knows_native_sidecars("1", "28") && !knows_native_sidecars("", ""));
    }
}
