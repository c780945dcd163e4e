//! TLS for clients: the workspace's crypto provider, CA files, and an HTTPS client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
pub use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
pub use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// An HTTP client for whole bodies, with or without TLS. It follows no redirects.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why a CA file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The file exists, but cannot be read.
    #[error("failed to read the CA file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: std::io::Error,
    },
    /// The file is not PEM, or a certificate in it is invalid.
    #[error("invalid PEM in the CA file {path}: expected one or more CERTIFICATE blocks")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: rustls::pki_types::pem::Error,
    },
}

/// Makes ring the crypto provider of this process. Further calls change nothing.
pub fn install_crypto_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("the crypto provider was installed before");
    }
}

/// Reads the certificates of a CA file. `None` means that the file does not exist, which is valid: only OpenShift has
/// `openshift-service-ca.crt`.
pub fn read_ca_file(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, CaError> {
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CaError::Read { path: path.to_owned(), source });
        }
    };
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
        .map_err(|source| CaError::Pem { path: path.to_owned(), source })
}

/// A client that trusts only `roots`.
pub fn http_client(roots: RootCertStore) -> HttpClient {
    http_client_over(roots, tcp())
}

/// The connector for TCP.
pub fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

/// Like [`http_client`], over the connections of `dial`.
pub fn http_client_over<D>(roots: RootCertStore, dial: D) -> Client<HttpsConnector<D>, Full<Bytes>>
where
    HttpsConnector<D>: Connect + Clone,
{
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_or_else(
        |error| unreachable!("ring speaks TLS 1.2 and 1.3: {error}"),
        |builder| builder.with_root_certificates(roots).with_no_client_auth(),
    );
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(dial);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector)
}
