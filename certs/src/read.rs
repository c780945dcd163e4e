//! From a folder with `tls.crt` and `tls.key` to something rustls can serve with.

use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::issue::PemPair;

/// The certificate chain's file, as Kubernetes names it in a Secret of type `kubernetes.io/tls`.
pub const CERT_FILE: &str = "tls.crt";
/// The private key's file.
pub const KEY_FILE: &str = "tls.key";
/// How many swaps in a row are believed to be swaps.
const SWAPS: usize = 3;

/// Why a certificate and its key cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// One of the two files cannot be read.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// No certificate chain in the file.
    #[error("invalid certificate chain in {path}: expected PEM with one or more CERTIFICATE blocks, leaf first")]
    Chain {
        /// The file.
        path: PathBuf,
        /// What the parser said, where it said anything.
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// No private key in the file.
    #[error("invalid private key in {path}: expected PEM with a PKCS#8, PKCS#1 or SEC1 key")]
    Key {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: rustls::pki_types::pem::Error,
    },
    /// The key is of a kind that cannot sign handshakes, or is not the certificate's.
    #[error("the key in {key} cannot be used with the certificate in {cert}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// The bytes of both files, before anything is made of them. Equal bytes need not be parsed again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RawPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl RawPair {
    pub(crate) fn new(pair: &PemPair) -> Self {
        Self { cert: pair.cert.clone().into_bytes(), key: pair.key.clone().into_bytes() }
    }

    /// Both files. The kubelet may swap them in between: then they are read again.
    pub(crate) fn read(dir: &Path) -> Result<Self, ReadError> {
        let mut pair = Self::read_once(dir);
        for _ in 0..SWAPS {
            let again = Self::read_once(dir);
            if let (Ok(pair), Ok(again)) = (&pair, &again)
                && pair == again
            {
                break;
            }
            pair = again;
        }
        pair
    }

    fn read_once(dir: &Path) -> Result<Self, ReadError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|source| ReadError::File { path, source })
        };
        Ok(Self { cert: read(CERT_FILE)?, key: read(KEY_FILE)? })
    }

    pub(crate) fn parse(&self, dir: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, ReadError> {
        let (cert, key) = (dir.join(CERT_FILE), dir.join(KEY_FILE));
        let chain = match CertificateDer::pem_slice_iter(&self.cert).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if !chain.is_empty() => chain,
            Ok(_) => return Err(ReadError::Chain { path: cert, source: None }),
            Err(source) => {
                return Err(ReadError::Chain { path: cert, source: Some(source) });
            }
        };
        let private = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(private) => private,
            Err(source) => return Err(ReadError::Key { path: key, source }),
        };
        CertifiedKey::from_der(chain, private, provider).map_err(|source| ReadError::Pair { cert, key, source })
    }
}

/// Reads `tls.crt` and `tls.key` from `dir` and checks that they belong together.
pub fn read_pair(dir: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, ReadError> {
    RawPair::read(dir)?.parse(dir, provider)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
    use rustls::crypto::ring::default_provider;

    use super::*;
    use crate::Authority;

    const DAY: Duration = Duration::from_hours(24);

    fn write(dir: &Path, cert: &str, key: &str) {
        std::fs::write(dir.join(CERT_FILE), cert).unwrap();
        std::fs::write(dir.join(KEY_FILE), key).unwrap();
    }

    #[test]
    fn reads_a_chain_with_its_ca() {
        let ca = Authority::new("test", DAY).unwrap();
        let leaf = ca.serving(&["localhost"], DAY).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &(leaf.cert + ca.cert()), &leaf.key);
        assert_eq!(read_pair(dir.path(), &default_provider()).unwrap().cert.len(), 2);
    }

    /// The content of the DER element at the start of `der`, and what follows it.
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, head) = match der[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        };
        (&der[head..head + length], &der[head + length..])
    }

    #[test]
    fn takes_sec1_keys() {
        let ca = Authority::new("test", DAY).unwrap();
        let leaf = ca.serving(&["localhost"], DAY).unwrap();
        let Ok(PrivateKeyDer::Pkcs8(pkcs8)) = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()) else { panic!() };
        // PKCS#8 is a version, an algorithm, and the SEC1 key as an octet string.
        let (inside, _) = element(pkcs8.secret_pkcs8_der());
        let (_, after_version) = element(inside);
        let (_, after_algorithm) = element(after_version);
        let (sec1, _) = element(after_algorithm);
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sec1);
        let dir = tempfile::tempdir().unwrap();
        let key = format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n");
        write(dir.path(), &leaf.cert, &key);
        read_pair(dir.path(), &default_provider()).unwrap();
    }

    #[test]
    fn takes_rsa_keys_as_pkcs1_and_as_pkcs8() {
        let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pkcs8 = private.to_pkcs8_pem(LineEnding::LF).unwrap();
        let pkcs1 = private.to_pkcs1_pem(LineEnding::LF).unwrap();
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(&pkcs8, &rcgen::PKCS_RSA_SHA256).unwrap();
        let cert = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for key in [pkcs1, pkcs8] {
            write(dir.path(), &cert.pem(), &key);
            read_pair(dir.path(), &default_provider()).unwrap();
        }
    }
}
