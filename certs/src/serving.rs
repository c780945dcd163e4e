//! The certificate that handshakes use now, swapped when the files' content changes.
//!
//! The kubelet replaces a mounted Secret through a symlink, which file notifications miss: the content is compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::read::{RawPair, ReadError};

/// A certificate and its key from a folder, always the last good pair that stood there.
#[derive(Clone)]
pub struct ServingCert {
    dir: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<ArcSwap<CertifiedKey>>,
    seen: RawPair,
}

impl std::fmt::Debug for ServingCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCert").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ServingCert {
    /// Reads the pair in `dir` for the first time.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = RawPair::read(dir)?;
        let pair = seen.parse(dir, &provider)?;
        Ok(Self { dir: dir.to_owned(), provider, current: Arc::new(ArcSwap::from_pointee(pair)), seen })
    }

    /// A TLS server configuration (1.2 and 1.3, HTTP/2 and 1.1) that asks for the current pair at every handshake.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Current(self.current.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Looks once whether the files changed: `Ok(true)` when a new pair is served from here on. After an error the
    /// last good pair stays.
    pub fn reload(&mut self) -> Result<bool, ReadError> {
        let raw = RawPair::read(&self.dir)?;
        if raw == self.seen {
            return Ok(false);
        }
        let pair = raw.parse(&self.dir, &self.provider)?;
        self.current.store(Arc::new(pair));
        self.seen = raw;
        Ok(true)
    }

    /// When the certificate that is served now expires.
    pub fn expires(&self) -> Option<SystemTime> {
        let pair = self.current.load();
        let (_, leaf) = x509_parser::parse_x509_certificate(pair.cert.first()?).ok()?;
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Looks every `interval` until `shutdown`, says what it found, and tells `told` whether the files could be used.
    pub async fn watch(mut self, interval: Duration, mut told: impl FnMut(&Self, bool), shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        let mut fault = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looked = self.reload();
            told(&self, looked.is_ok());
            match looked {
                Ok(changed) => {
                    if changed {
                        tracing::info!(dir = %self.dir.display(), "serving a new certificate");
                    }
                    fault = None;
                }
                // Once for each fault: a file that stays bad says nothing new.
                Err(error) if fault.as_ref() == Some(&error.to_string()) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the new certificate cannot be used, the last good one stays"
                    );
                    fault = Some(error.to_string());
                }
            }
        }
    }
}

#[derive(Debug)]
struct Current(Arc<ArcSwap<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, CERT_FILE, KEY_FILE, PemPair};

    const DAY: Duration = Duration::from_hours(24);

    fn write(dir: &Path, pair: &PemPair) {
        std::fs::write(dir.join(CERT_FILE), &pair.cert).unwrap();
        std::fs::write(dir.join(KEY_FILE), &pair.key).unwrap();
    }

    #[test]
    fn knows_when_its_certificate_expires() {
        let ca = Authority::new("test", DAY).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &ca.serving(&["localhost"], DAY).unwrap());
        let expires = ServingCert::read(dir.path()).unwrap().expires().unwrap();
        let left = expires.duration_since(SystemTime::now()).unwrap();
        assert!(left <= DAY && left + Duration::from_mins(1) > DAY, "{left:?}");
    }

    #[test]
    fn serves_a_new_pair_once_both_files_fit_and_the_old_one_until_then() {
        let ca = Authority::new("test", DAY).unwrap();
        let (old, new) = (ca.serving(&["localhost"], DAY).unwrap(), ca.serving(&["localhost"], DAY).unwrap());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &old);
        let mut serving = ServingCert::read(dir.path()).unwrap();
        let first = serving.current.load_full();
        assert!(!serving.reload().unwrap());

        std::fs::write(dir.path().join(CERT_FILE), &new.cert).unwrap();
        serving.reload().unwrap_err();
        assert_eq!(serving.current.load().cert, first.cert);

        write(dir.path(), &new);
        assert!(serving.reload().unwrap());
        assert_ne!(serving.current.load().cert, first.cert);
    }
}
