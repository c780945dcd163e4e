//! From a directory with `tls.crt` and `tls.key` to a certificate that rustls can serve.

use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::issue::PemPair;

/// The file of the certificate chain, as Kubernetes names it in a Secret of type `kubernetes.io/tls`.
pub const CERT_FILE: &str = "tls.crt";
/// The private key's file.
pub const KEY_FILE: &str = "tls.key";
/// How many times in a row the files may change while they are read.
const SWAPS: usize = 3;

/// Why a certificate and its key are unusable.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// One of the two files cannot be read.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: std::io::Error,
    },
    /// The file has no certificate chain.
    #[error("invalid certificate chain in {path}: expected PEM with one or more CERTIFICATE blocks, leaf first")]
    Chain {
        /// The file.
        path: PathBuf,
        /// The parser's error, if it has one.
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// The file has no private key.
    #[error("invalid private key in {path}: expected PEM with a PKCS#8, PKCS#1 or SEC1 key")]
    Key {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: rustls::pki_types::pem::Error,
    },
    /// The key belongs to another certificate, or cannot sign handshakes.
    #[error("failed to use the key in {key} with the certificate in {cert}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
}

/// The bytes of both files. Equal bytes need not be parsed again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RawPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl RawPair {
    pub(crate) fn new(pair: &PemPair) -> Self {
        Self { cert: pair.cert.clone().into_bytes(), key: pair.key.clone().into_bytes() }
    }

    /// Reads both files, and reads them again if the kubelet swaps them in between.
    pub(crate) fn read(dir: &Path) -> Result<Self, ReadError> {
        Self::settled(|| Self::read_once(dir))
    }

    /// The pair that `read` returns twice in a row.
    fn settled(mut read: impl FnMut() -> Result<Self, ReadError>) -> Result<Self, ReadError> {
        let mut pair = read();
        for _ in 0..SWAPS {
            let again = read();
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
    use super::*;

    #[test]
    fn reads_a_pair_again_that_is_swapped_meanwhile() {
        let pair = |cert: &str, key: &str| RawPair { cert: cert.into(), key: key.into() };
        let gone = || ReadError::File { path: CERT_FILE.into(), source: std::io::ErrorKind::NotFound.into() };
        let cases = [
            vec![Ok(pair("old", "new")), Ok(pair("new", "new")), Ok(pair("new", "new"))],
            vec![Ok(pair("old", "old")), Err(gone()), Ok(pair("new", "new")), Ok(pair("new", "new"))],
        ];
        for mut reads in cases.map(Vec::into_iter) {
            assert!(RawPair::settled(|| reads.next().unwrap()).unwrap() == pair("new", "new"));
            assert!(reads.next().is_none(), "it was satisfied too early");
        }
    }
}
