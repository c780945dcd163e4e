//! The flags for the serving certificate.

use std::path::PathBuf;

use certs::{Lifetimes, SelfSigned, ServingCert};

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Certificate {
    /// A directory with tls.crt and tls.key, read again when they change.
    #[arg(
        long,
        env = "REDIS_LOG_WEBHOOK_CERT_DIR",
        value_name = "DIR",
        required_unless_present = "self_signed",
        conflicts_with = "self_signed"
    )]
    cert_dir: Option<PathBuf>,
    /// Issue the certificate, store it in a Secret for all replicas, renew it, and set the caBundle.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_SELF_SIGNED")]
    pub(super) self_signed: bool,
    /// The namespace of this installation, with its Secret and its Service.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_NAMESPACE", value_name = "NS", default_value = "redis-log-shipper")]
    pub(super) namespace: String,
    /// The Secret for a self-signed certificate.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_SECRET", value_name = "NAME", default_value = "redis-log-webhook-tls")]
    secret: String,
    /// The Service whose name a self-signed certificate is for.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_SERVICE", value_name = "NAME", default_value = "redis-log-webhook")]
    service: String,
    /// Another name for a self-signed certificate; may be given more than once.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_DNS_NAME", value_name = "NAME", value_delimiter = ',')]
    dns_name: Vec<String>,
    /// The MutatingWebhookConfiguration whose caBundle is set.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIGURATION", value_name = "NAME", default_value = "redis-log-shipper")]
    webhook_configuration: String,
}

impl Certificate {
    /// Opens the certificate. `client` is needed for a self-signed one.
    pub(super) fn open(self, client: Option<&kube::Client>) -> anyhow::Result<ServingCert> {
        match (self.cert_dir, client) {
            (Some(dir), _) => Ok(ServingCert::read(&dir)?),
            (None, Some(client)) => {
                let host = format!("{}.{}.svc", self.service, self.namespace);
                let mut names = vec![format!("{host}.cluster.local"), host];
                names.extend(self.dns_name);
                names.reverse();
                Ok(ServingCert::self_signed(SelfSigned {
                    client: client.clone(),
                    namespace: self.namespace,
                    secret: self.secret,
                    configuration: self.webhook_configuration,
                    names,
                    lifetimes: Lifetimes::default(),
                }))
            }
            (None, None) => anyhow::bail!("--self-signed needs an API server to store the certificate in"),
        }
    }
}
