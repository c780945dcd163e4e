//! The flags for client certificates.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use certs::client_verifier;
use rustls::server::danger::ClientCertVerifier;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Clients {
    /// Answer only clients whose certificate is signed by a CA in this PEM file, which is read at the start.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Answer only clients whose certificate has this common name; may be given more than once.
    #[arg(
        long,
        env = "REDIS_LOG_WEBHOOK_CLIENT_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "client_ca"
    )]
    client_name: Vec<String>,
}

impl Clients {
    /// The verifier of client certificates; `None` if every client is answered.
    pub(super) fn verifier(self) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
        let Some(path) = self.client_ca else { return Ok(None) };
        let authorities = runtime::tls::read_ca_file(&path)?
            .with_context(|| format!("failed to read the CA file {}: there is no such file", path.display()))?;
        Ok(Some(client_verifier(authorities, self.client_name)?))
    }
}
