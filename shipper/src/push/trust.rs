//! The CAs that the client trusts: the CA files, or the system's CAs if no file is named.

use std::path::PathBuf;

use runtime::chain;
use runtime::tls::read_ca_file;
use rustls::RootCertStore;

use super::settings::PushSettings;

/// The content of the CA files when they were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CaFiles(Vec<Option<Vec<u8>>>);

impl CaFiles {
    /// Reads the content of `files`.
    pub(super) fn read(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|path| std::fs::read(path).ok()).collect())
    }

    /// Which of `files`, in the order in which they were read, could not be read.
    pub(super) fn missing(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let missing = files.iter().zip(&self.0).filter(|(_, content)| content.is_none());
        missing.map(|(path, _)| path.clone()).collect()
    }
}

/// The CAs to trust. Logs each file that cannot be used, and continues with the others.
pub(crate) fn roots(settings: &PushSettings) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if settings.url.scheme_str() != Some("https") {
        return roots;
    }
    if settings.ca_files.is_empty() {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "failed to read one of the system's CAs");
        }
        roots.add_parsable_certificates(system.certs);
    }
    for path in &settings.ca_files {
        match read_ca_file(path) {
            Ok(certificates) => {
                roots.add_parsable_certificates(certificates.unwrap_or_default());
            }
            Err(error) => tracing::error!(error = chain(&error), "failed to use a CA file"),
        }
    }
    if roots.is_empty() {
        tracing::error!(files = ?settings.ca_files, "no CA to trust: no file of --ca-file exists and holds a certificate");
    }
    roots
}
