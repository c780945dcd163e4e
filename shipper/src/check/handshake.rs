//! One TLS handshake that keeps the certificates the server shows, whether they are trusted or not.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate;

/// The result of a handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The certificate of the server in words, if it showed one.
    pub(super) shown: Option<String>,
    /// The TLS version, or why there is no connection.
    pub(super) result: io::Result<&'static str>,
}

/// Shakes hands over `tcp` with the server of this name. Trusts only `roots`, as a push does.
pub(super) async fn shake_hands(tcp: TcpStream, name: ServerName<'static>, roots: RootCertStore) -> Handshake {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let recorder = Arc::new(Recorder::new(roots, &provider));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = match config {
        Ok(config) => config.dangerous().with_custom_certificate_verifier(recorder.clone()).with_no_client_auth(),
        Err(error) => return Handshake { shown: None, result: Err(io::Error::other(error)) },
    };
    let result = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let result = result.map(|stream| version(stream.get_ref().1.protocol_version()));
    let shown = recorder.shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    Handshake { shown: shown.map(|der| certificate::words(&der, SystemTime::now())), result }
}

fn version(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS",
    }
}

/// Verifies certificates as rustls does, and keeps the certificate of the server.
#[derive(Debug)]
struct Recorder {
    /// `None` without a single CA.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<CertificateDer<'static>>>,
}

impl Recorder {
    fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Self {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        Self { verifier, provider: provider.clone(), shown: Mutex::default() }
    }

    fn verifier(&self) -> Result<&WebPkiServerVerifier, Error> {
        self.verifier.as_deref().ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
