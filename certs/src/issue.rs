//! Our own certificate authority: one CA, and the leaves that it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The clocks of a cluster differ, so a certificate is valid from a little before it is issued.
pub(crate) const BACKDATED: Duration = Duration::from_mins(5);

/// A certificate could not be issued.
#[derive(Debug, thiserror::Error)]
#[error("failed to issue a certificate for {name}")]
pub struct IssueError {
    name: String,
    source: rcgen::Error,
}

/// A certificate chain and its private key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// The certificate chain, leaf first.
    pub cert: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// A CA that can sign leaves.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: String,
}

impl Authority {
    /// Issues a new CA, valid for `lifetime` from now.
    pub fn new(common_name: &str, lifetime: Duration) -> Result<Self, IssueError> {
        Self::new_at(common_name, lifetime, SystemTime::now())
    }

    /// Issues a new CA, valid for `lifetime` from `now`.
    pub fn new_at(common_name: &str, lifetime: Duration, now: SystemTime) -> Result<Self, IssueError> {
        let failed = |source| IssueError { name: common_name.to_owned(), source };
        let mut params = valid_for(lifetime, now);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), cert })
    }

    /// The CA of a certificate and its key, both as PEM; `None` if they are invalid or do not belong together.
    pub fn from_pem(cert: &str, key: &str) -> Option<Self> {
        let key = KeyPair::from_pem(key).ok()?;
        let der = CertificateDer::from_pem_slice(cert.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return None;
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).ok()?;
        Some(Self { issuer, cert: cert.to_owned() })
    }

    /// The CA's private key as PEM, PKCS#8.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The CA certificate as PEM, which clients must trust: the `caBundle` of a webhook.
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// Issues a serving certificate for `names` (DNS names or IP addresses).
    pub fn serving(&self, names: &[&str], lifetime: Duration) -> Result<PemPair, IssueError> {
        self.serving_at(names, lifetime, SystemTime::now())
    }

    /// Issues a serving certificate for `names`, valid for `lifetime` from `now`.
    pub fn serving_at(&self, names: &[&str], lifetime: Duration, now: SystemTime) -> Result<PemPair, IssueError> {
        let name = names.join(", ");
        let mut params = valid_for(lifetime, now);
        params.subject_alt_names = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|source| IssueError { name: name.clone(), source })?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, *first);
        }
        self.sign(params, &name)
    }

    /// Issues a client certificate for a user of a Kubernetes API server. The common name is the user, the organization is
    /// a group.
    pub fn client(&self, user: &str, group: &str, lifetime: Duration) -> Result<PemPair, IssueError> {
        let mut params = valid_for(lifetime, SystemTime::now());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.sign(params, user)
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Result<PemPair, IssueError> {
        let failed = |source| IssueError { name: name.to_owned(), source };
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(PemPair { cert: cert.pem(), key: key.serialize_pem() })
    }
}

fn valid_for(lifetime: Duration, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + lifetime).into();
    params
}
