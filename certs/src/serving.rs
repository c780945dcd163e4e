//! The served certificate, replaced when its source has a new one.
//!
//! The kubelet replaces a mounted Secret through a symlink, which file notifications miss. So the content is compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use runtime::chain;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::read::{RawPair, ReadError};
use crate::secret::{KeepError, SelfSigned};

/// The timeout for one check of the source.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The source of a certificate and its key.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// A directory with `tls.crt` and `tls.key` that somebody else fills: a person, cert-manager or OpenShift's service CA.
    Files(PathBuf),
    /// The certificate is self-signed and stored in a Secret.
    SelfSigned(Box<SelfSigned>),
}

/// Why the source has no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The files or the content of the Secret are invalid.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Secret cannot be updated.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The API server or the file system does not answer.
    #[error("failed to get a certificate within {TIMEOUT:?}")]
    Slow,
}

/// A certificate and its key: always the last valid pair of their source.
#[derive(Clone)]
pub struct ServingCert {
    source: CertificateSource,
    provider: Arc<CryptoProvider>,
    current: Arc<ArcSwapOption<CertifiedKey>>,
    seen: Option<RawPair>,
}

impl std::fmt::Debug for ServingCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCert").field("source", &self.source).finish_non_exhaustive()
    }
}

impl ServingCert {
    /// Reads the pair in `dir`. It must exist and be valid.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let mut cert = Self::of(CertificateSource::Files(dir.to_owned()));
        cert.take(RawPair::read(dir)?, dir)?;
        Ok(cert)
    }

    /// A self-signed pair. It is missing until the first successful [`ServingCert::reload`], because an API server that
    /// does not answer must not end the process.
    pub fn self_signed(kept: SelfSigned) -> Self {
        Self::of(CertificateSource::SelfSigned(Box::new(kept)))
    }

    fn of(source: CertificateSource) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { source, provider, current: Arc::new(ArcSwapOption::empty()), seen: None }
    }

    /// A TLS server configuration (TLS 1.2 and 1.3, HTTP/2 and 1.1) that uses the current pair at every handshake.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        self.server_config_for(WebPkiClientVerifier::no_client_auth())
    }

    /// Like [`ServingCert::server_config`], with a check of client certificates.
    pub fn server_config_for(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(Current(self.current.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Checks the source once. `Ok(true)` means that a new pair is served from now on. After an error, the last valid pair
    /// stays.
    pub async fn reload(&mut self) -> Result<bool, SourceError> {
        let found = async {
            match &self.source {
                CertificateSource::Files(dir) => Ok((RawPair::read(dir)?, dir.clone())),
                CertificateSource::SelfSigned(kept) => {
                    let pair = kept.keep(SystemTime::now()).await?.pair;
                    Ok((RawPair::new(&pair), PathBuf::from(format!("Secret {}/{}", kept.namespace, kept.secret))))
                }
            }
        };
        let found = tokio::time::timeout(TIMEOUT, found).await;
        let (raw, place) = found.unwrap_or(Err(SourceError::Slow))?;
        Ok(self.take(raw, &place)?)
    }

    fn take(&mut self, raw: RawPair, place: &Path) -> Result<bool, ReadError> {
        if self.seen.as_ref() == Some(&raw) {
            return Ok(false);
        }
        let pair = raw.parse(place, &self.provider)?;
        self.current.store(Some(Arc::new(pair)));
        self.seen = Some(raw);
        Ok(true)
    }

    /// The expiry time of the served certificate.
    pub fn expires(&self) -> Option<SystemTime> {
        let pair = self.current.load_full()?;
        let (_, leaf) = x509_parser::parse_x509_certificate(pair.cert.first()?).ok()?;
        let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Whether clients trust the served certificate at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.expires().is_some_and(|expires| expires > now)
    }

    /// Checks the source every `interval` until `shutdown`, logs the result, and calls `report` with whether the source has
    /// a valid pair.
    pub async fn watch(mut self, interval: Duration, mut report: impl FnMut(&Self, bool), shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        // After a slow check, the next one waits a full interval.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fault = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let checked = tokio::select! {
                () = shutdown.cancelled() => return,
                checked = self.reload() => checked,
            };
            report(&self, checked.is_ok());
            fault = self.log(checked, fault.as_deref());
        }
    }

    /// Logs the result, unless it has the same fault as before. Returns the fault.
    fn log(&self, checked: Result<bool, SourceError>, before: Option<&str>) -> Option<String> {
        let error = match checked {
            Ok(changed) => {
                if changed {
                    tracing::info!(source = ?self.source, "serving a new certificate");
                }
                if self.is_valid(SystemTime::now()) {
                    return None;
                }
                let fault = "expired".to_owned();
                if before != Some(&fault) {
                    tracing::error!(source = ?self.source, "the certificate has expired: no API server trusts it");
                }
                return Some(fault);
            }
            Err(error) => error,
        };
        let fault = chain(&error);
        if before != Some(&fault) {
            let error = &fault;
            if self.current.load().is_some() {
                tracing::error!(error, "failed to use the new certificate; still serving the last valid one");
            } else {
                tracing::error!(error, "no certificate yet: the webhook cannot answer reviews");
            }
        }
        Some(fault)
    }
}

#[derive(Debug)]
struct Current(Arc<ArcSwapOption<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
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

    #[tokio::test]
    async fn keeps_the_last_valid_pair_and_names_file_and_fault() {
        let ca = Authority::new("test", DAY).unwrap();
        let (old, new) = (ca.serving(&["localhost"], DAY).unwrap(), ca.serving(&["localhost"], DAY).unwrap());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &old);
        let mut serving = ServingCert::read(dir.path()).unwrap();
        let served = |serving: &ServingCert| serving.current.load_full().unwrap().cert.clone();
        let first = served(&serving);
        assert!(!serving.reload().await.unwrap());

        let half = |text: &str| text.split_at(text.len() / 2).0.to_owned();
        let bad = [
            (new.cert.clone(), old.key.clone(), "tls.key with the certificate in"),
            (String::new(), new.key.clone(), "invalid certificate chain in"),
            (half(&new.cert), new.key.clone(), "invalid certificate chain in"),
            (format!("{}{}", new.cert, half(ca.cert())), new.key.clone(), "invalid certificate chain in"),
            // The CA certificate comes before the leaf.
            (format!("{}{}", ca.cert(), new.cert), new.key.clone(), "tls.key with the certificate in"),
            (new.cert.clone(), String::new(), "invalid private key in"),
            (new.cert.clone(), new.key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "invalid private key in"),
            (new.cert.clone(), half(&new.key), "invalid private key in"),
        ];
        for (cert, key, fault) in bad {
            write(dir.path(), &PemPair { cert, key });
            let error = serving.reload().await.unwrap_err().to_string();
            assert!(error.contains(fault) && error.contains(&dir.path().display().to_string()), "{error}");
            assert_eq!(served(&serving), first, "{fault}");
        }
        std::fs::remove_file(dir.path().join(CERT_FILE)).unwrap();
        assert!(serving.reload().await.unwrap_err().to_string().contains("failed to read"));
        assert_eq!(served(&serving), first);

        write(dir.path(), &new);
        assert!(serving.reload().await.unwrap());
        assert_ne!(served(&serving), first);
    }

    #[test]
    fn an_expired_certificate_is_not_valid() {
        let ca = Authority::new("test", DAY).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &ca.serving(&["localhost"], DAY).unwrap());
        let serving = ServingCert::read(dir.path()).unwrap();
        let now = SystemTime::now();
        assert!(serving.is_valid(now) && !serving.is_valid(now + DAY + Duration::from_secs(1)));
    }
}
