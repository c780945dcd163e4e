//! Small HTTP requests whose answers are read whole.

use std::fmt::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use runtime::tls::{HttpClient, http_client};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A client that trusts the CAs in `pem`, if there are any.
pub fn client(pem: Option<&str>) -> anyhow::Result<HttpClient> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.unwrap_or_default().as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(http_client(roots))
}

/// Gets `url`.
pub async fn get(client: &HttpClient, url: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    send(client, Request::get(url).body(Full::default())?).await
}

/// Posts JSON to `url`.
pub async fn post_json(
    client: &HttpClient,
    url: &str,
    body: &serde_json::Value,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = Request::post(url).header("content-type", "application/json");
    send(client, request.body(Full::from(serde_json::to_vec(body)?))?).await
}

/// Sends `request` and waits for the whole answer.
pub async fn send(client: &HttpClient, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let url = request.uri().clone();
    let answer = client.request(request).await.with_context(|| format!("failed to ask {url}"))?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

/// Encodes `text` for the query of a URL.
pub fn in_query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
