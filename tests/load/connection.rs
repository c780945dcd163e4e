//! One kept-alive connection to the webhook: HTTP/1.1 over TLS.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects to `port` on loopback and expects a certificate for `localhost` of the CA `ca` (PEM).
    pub(crate) async fn open(port: u16, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost")?, tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, which reports the error.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a review and waits for the whole answer.
    pub(crate) async fn review(&mut self, review: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::post("/mutate?timeout=5s").header(HOST, "localhost");
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(review))?;
        self.0.ready().await?;
        let answer = self.0.send_request(request).await?;
        let status = answer.status();
        ensure!(status.is_success(), "the webhook said {status}");
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}
