//! The flags that say which cluster a person means, and as whom. `check` and `rollout` have them.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// The kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Connection {
    /// The cluster, with the permissions of the kubeconfig's user.
    pub(super) async fn config(&self) -> anyhow::Result<kube::Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file).context("failed to read --kubeconfig")?;
                Ok(kube::Config::from_custom_kubeconfig(read, &options).await?)
            }
            None if self.context.is_some() => Ok(kube::Config::from_kubeconfig(&options).await?),
            None => kube::Config::infer().await.context("failed to find a cluster: set KUBECONFIG"),
        }
    }
}
