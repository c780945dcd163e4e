//! The API server as we see it: whether there is one, and what it can do.

use std::time::Duration;

use anyhow::Context as _;

use runtime::chain;

/// How long the start may wait for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Native sidecars are on by default from Kubernetes 1.29.
const NATIVE_SIDECARS: (u32, u32) = (1, 29);

/// A client for the cluster this process runs in (or the current kubeconfig), and whether the API server knows native
/// sidecars. `None` where no cluster can be reached: the webhook answers without one.
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

/// A client for what cannot be done without an API server, where that is `needed`.
pub(crate) async fn needed(needed: bool) -> anyhow::Result<Option<kube::Client>> {
    if !needed {
        return Ok(None);
    }
    let client = kube::Client::try_default().await;
    client.map(Some).context("--self-signed and --managed-rbac need an API server: run in a pod, or set KUBECONFIG")
}

/// Minor versions may carry a `+` or worse behind the number.
fn knows_native_sidecars(major: &str, minor: &str) -> bool {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    (number(major), number(minor)) >= NATIVE_SIDECARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_from_which_version_on_there_are_native_sidecars() {
        assert!(
            knows_native_sidecars("1", "29") && knows_native_sidecars("1", "34+") && knows_native_sidecars("2", "0")
        );
        assert!(!knows_native_sidecars("1", "28") && !knows_native_sidecars("", ""));
    }
}
