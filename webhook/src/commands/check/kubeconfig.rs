//! The flags that say which cluster is checked, and as whom.

use std::time::Duration;

use crate::check::reader::Reader;
use crate::commands::connection::Connection;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Cluster {
    #[command(flatten)]
    connection: Connection,
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
        let config = self.connection.config().await?;
        Ok(Reader::new(kube::Client::try_from(config)?, Duration::from_secs(self.timeout)))
    }
}
