//! The flags that say which cluster is checked, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::check::reader::Reader;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Cluster {
    /// The kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod]
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    context: Option<String>,
    /// The namespace of the installation.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_NAMESPACE", value_name = "NS", default_value = "redis-log-shipper")]
    pub(super) installation: String,
    /// How many seconds one request to the API server may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    timeout: u64,
}

impl Cluster {
    /// A reader with the permissions of the kubeconfig's user.
    pub(super) async fn reader(&self) -> anyhow::Result<Reader> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file).context("failed to read --kubeconfig")?;
                kube::Config::from_custom_kubeconfig(read, &options).await?
            }
            None if self.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
            None => kube::Config::infer().await.context("failed to find a cluster: set KUBECONFIG")?,
        };
        Ok(Reader::new(kube::Client::try_from(config)?, Duration::from_secs(self.timeout)))
    }
}
