//! Whether a client that trusts a bundle trusts a certificate, as an API server decides about a webhook.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

/// Why a client does not trust a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The bundle is empty or not PEM.
    #[error("invalid CA bundle: expected one or more CERTIFICATE blocks as PEM")]
    Bundle,
    /// The certificate is not PEM.
    #[error("invalid certificate: expected one or more CERTIFICATE blocks as PEM, leaf first")]
    Chain,
    /// No CA of the bundle signed it.
    #[error("no CA of the bundle signed the certificate")]
    Issuer,
    /// The certificate, or every CA of the bundle, has expired.
    #[error("the certificate or its CA has expired")]
    Expired,
    /// It is for other names.
    #[error("the certificate is not for {0}")]
    Name(String),
    /// Another reason, in the words of rustls.
    #[error("{0}")]
    Other(String),
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: SystemTime,
    /// The last second.
    pub until: SystemTime,
}

impl Validity {
    /// Whether less than a third of the lifetime is left at `now`. Issuers renew before that.
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        self.until.duration_since(now).unwrap_or_default() < lifetime / 3
    }
}

/// The validity of the first certificate in `chain`, which is PEM.
pub fn validity(chain: &str) -> Option<Validity> {
    validity_of(certificates(chain)?.first()?)
}

/// Whether a client that trusts the CAs in `bundle` accepts `chain` from a server of this name at `now`. Both are PEM.
pub fn verify(bundle: &str, chain: &str, name: &str, now: SystemTime) -> Result<Validity, Distrust> {
    let authorities = certificates(bundle).ok_or(Distrust::Bundle)?;
    let chain = certificates(chain).ok_or(Distrust::Chain)?;
    let (leaf, intermediates) = chain.split_first().ok_or(Distrust::Chain)?;
    let validity = validity_of(leaf).ok_or(Distrust::Chain)?;
    let mut roots = RootCertStore::empty();
    // rustls ignores the lifetime of a CA, and Go does not.
    let is_valid = |ca: &&CertificateDer<'_>| validity_of(ca).is_some_and(|ca| ca.from <= now && now <= ca.until);
    for ca in authorities.iter().filter(is_valid) {
        roots.add(ca.clone()).map_err(|_invalid| Distrust::Bundle)?;
    }
    if roots.is_empty() {
        return Err(Distrust::Expired);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| Distrust::Other(error.to_string()))?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| Distrust::Other(error.to_string()))?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let answer = verifier.verify_server_cert(leaf, intermediates, &server, &[], UnixTime::since_unix_epoch(now));
    answer.map(|_| validity).map_err(|error| match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Distrust::Issuer
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Distrust::Expired
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Distrust::Name(name.to_owned()),
        other => Distrust::Other(other.to_string()),
    })
}

/// The certificates in `pem`; `None` if there are none, or if one is invalid.
fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

fn validity_of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let at = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    let validity = parsed.validity();
    Some(Validity { from: at(validity.not_before.timestamp())?, until: at(validity.not_after.timestamp())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn says_why_an_api_server_does_not_trust_a_certificate() {
        let (ca, other) = (Authority::new("ours", DAY * 10).unwrap(), Authority::new("other", DAY * 10).unwrap());
        let chain = ca.serving(&["webhook.ns.svc"], DAY).unwrap().cert;
        let now = SystemTime::now();
        let verified = |bundle: &str, name: &str, now| verify(bundle, &chain, name, now).map(|_| ());
        assert_eq!(verified(ca.cert(), "webhook.ns.svc", now), Ok(()));
        let both = format!("{}{}", other.cert(), ca.cert());
        assert_eq!(verified(&both, "webhook.ns.svc", now), Ok(()));
        assert_eq!(verified(other.cert(), "webhook.ns.svc", now), Err(Distrust::Issuer));
        assert_eq!(verified(ca.cert(), "other.ns.svc", now), Err(Distrust::Name("other.ns.svc".to_owned())));
        assert_eq!(verified(ca.cert(), "webhook.ns.svc", now + DAY * 2), Err(Distrust::Expired));
        assert_eq!(verified("", "webhook.ns.svc", now), Err(Distrust::Bundle));
        assert_eq!(verify(ca.cert(), "x", "webhook.ns.svc", now), Err(Distrust::Chain));
        // The CA is older than the leaf.
        let old = Authority::new("old", DAY).unwrap();
        let leaf = old.serving(&["webhook.ns.svc"], DAY * 3).unwrap().cert;
        assert_eq!(verify(old.cert(), &leaf, "webhook.ns.svc", now + DAY * 2), Err(Distrust::Expired));
    }

    #[test]
    fn knows_when_less_than_a_third_of_a_life_is_left() {
        let ca = Authority::new("ours", DAY * 90).unwrap();
        let validity = validity(&ca.serving(&["localhost"], DAY * 90).unwrap().cert).unwrap();
        let now = SystemTime::now();
        assert!(!validity.ends_soon(now + DAY * 59) && validity.ends_soon(now + DAY * 61));
    }
}
