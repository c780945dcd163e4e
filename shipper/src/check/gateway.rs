//! Whether the host of the push URL can be reached: its name, its port, its certificate.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use findings::{Check, Code, Finding, Outcome};
use runtime::chain;
use runtime::tls::read_ca_file;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::certificate;
use super::handshake::{Handshake, shake_hands};
use super::words::{check, skipped};
use crate::push::{ConnectionFault, PushSettings, not_reached, roots};

/// The timeout for a name.
const RESOLVING: Duration = Duration::from_secs(5);
/// The timeout for a connection to one address.
const CONNECTING: Duration = Duration::from_secs(5);
/// The timeout of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
const TRUSTED: &str = "certificate is trusted";
/// At most this many addresses of a name are tried.
const ADDRESSES: usize = 4;
/// At most this many certificates of a CA file are shown.
const SHOWN: usize = 3;

/// The host and the port of a URL.
struct Target<'a> {
    push: &'a PushSettings,
    host: &'a str,
    port: u16,
}

/// Resolves the name, connects, and shakes hands. A failed step makes the later ones unchecked. Returns why a push cannot get
/// there, if it cannot.
pub(super) async fn checks(push: &PushSettings) -> (Vec<Check>, Option<&'static str>) {
    let host = push.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_tls = push.url.scheme_str() == Some("https");
    let target = Target { push, host, port: push.url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) };
    let mut checks = if is_tls { ca_files(push) } else { Vec::new() };
    let [resolve, connect, tls] =
        [format!("name {host} resolves"), format!("port {} accepts connections", target.port), TRUSTED.to_owned()];
    let addresses = match target.resolve().await {
        Ok(addresses) => addresses,
        Err(found) => {
            let why = "the name of the host cannot be resolved";
            checks.extend([check(resolve, found), skipped(connect, why), skipped(tls, why)]);
            return (checks, Some(why));
        }
    };
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    checks.push(check(resolve, Outcome::Passed(shown.join(", "))));
    let (tcp, detail) = match target.connect(&addresses).await {
        Ok(connected) => connected,
        Err(found) => {
            let why = "the host accepts no connection";
            checks.extend([check(connect, found), skipped(tls, why)]);
            return (checks, Some(why));
        }
    };
    checks.push(check(connect, Outcome::Passed(detail)));
    if !is_tls {
        checks.push(skipped(tls, "the URL is plain http"));
        return (checks, None);
    }
    let outcome = target.shake_hands(tcp).await;
    let is_trusted = matches!(outcome, Outcome::Passed(_));
    checks.push(check(tls, outcome));
    (checks, (!is_trusted).then_some("the TLS handshake fails"))
}

impl Target<'_> {
    fn found(&self, fault: ConnectionFault, detail: &str) -> Outcome {
        let mut finding = not_reached(self.push, fault);
        if !detail.is_empty() {
            finding.problem = format!("{} ({detail})", finding.problem);
        }
        Outcome::Found(finding)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Outcome> {
        match timeout(RESOLVING, tokio::net::lookup_host((self.host, self.port))).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(self.found(ConnectionFault::UnknownName, &error.to_string())),
            Err(_late) => Err(self.found(ConnectionFault::UnknownName, &format!("no answer within {RESOLVING:?}"))),
        }
    }

    /// Connects to the first address that accepts, and says which did not.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, String), Outcome> {
        let (mut last, mut refusals) = (ConnectionFault::Other, Vec::new());
        for address in addresses.iter().take(ADDRESSES) {
            let connected = timeout(CONNECTING, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    refusals.insert(0, address.to_string());
                    return Ok((tcp, refusals.join("; ")));
                }
                Err(error) => {
                    last = ConnectionFault::of(&error);
                    refusals.push(format!("{address}: {error}"));
                }
            }
        }
        Err(self.found(last, &refusals.join("; ")))
    }

    async fn shake_hands(&self, tcp: TcpStream) -> Outcome {
        let Ok(name) = ServerName::try_from(self.host.to_owned()) else {
            return self.found(ConnectionFault::CertificateOfAnotherName, "the host is no valid name");
        };
        let Ok(Handshake { shown, result }) = timeout(HANDSHAKE, shake_hands(tcp, name, roots(self.push))).await else {
            return self.found(ConnectionFault::Timeout, &format!("no TLS handshake within {HANDSHAKE:?}"));
        };
        let shown = shown.unwrap_or_default();
        match result {
            Ok(version) => Outcome::Passed(format!("{version}; {shown}")),
            Err(error) if shown.is_empty() => self.found(ConnectionFault::of(&error), &chain(&error)),
            Err(error) => {
                self.found(ConnectionFault::of(&error), &format!("{}; the server shows {shown}", chain(&error)))
            }
        }
    }
}

/// The CA files, or the system's CAs. This reads small files.
fn ca_files(push: &PushSettings) -> Vec<Check> {
    if push.ca_files.is_empty() {
        return vec![check("CAs", Outcome::Passed(format!("the system's, {}", roots(push).len())))];
    }
    let mut checks: Vec<_> = push.ca_files.iter().map(|path| ca_file(path)).collect();
    let any = checks.iter().any(|check| matches!(&check.outcome, Outcome::Passed(_)));
    if !any && roots(push).is_empty() {
        let problem = "no file of --ca-file holds a certificate, so no server is trusted";
        let fix = "let --ca-file name the CA that signed the certificate of the gateway (caFiles in the configuration of \
                   the webhook; on OpenShift openshift-service-ca.crt)";
        checks.push(check("a CA is known", Outcome::Found(Finding::new(Code::UntrustedCertificate, problem, fix))));
    }
    checks
}

fn ca_file(path: &Path) -> Check {
    let title = format!("CA file {}", path.display());
    match read_ca_file(path) {
        Ok(Some(certificates)) if !certificates.is_empty() => {
            let words = certificates.iter().take(SHOWN).map(|der| certificate::words(der, SystemTime::now()));
            let more = certificates.len().saturating_sub(SHOWN);
            let more = (more > 0).then(|| format!("{more} more"));
            check(title, Outcome::Passed(words.chain(more).collect::<Vec<_>>().join("; ")))
        }
        Ok(Some(_empty)) => skipped(title, "the file holds no certificate"),
        // Only OpenShift has a service CA, so the webhook names a file that need not exist.
        Ok(None) => skipped(title, "the file does not exist, which is valid"),
        Err(error) => {
            let fix = "let this user read the file, and let it hold certificates in PEM";
            check(title, Outcome::Found(Finding::new(Code::UntrustedCertificate, chain(&error), fix)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use certs::Authority;
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::check::testing::findings;

    const HOUR: Duration = Duration::from_hours(1);

    /// A server for one handshake, with a certificate for `name` that `ca` signed.
    async fn server(ca: &Authority, name: &str) -> u16 {
        let pair = ca.serving(&[name], HOUR).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(Arc::new(config)).accept(tcp).await;
        });
        port
    }

    async fn of(url: String, ca: &Authority) -> (Vec<Check>, Option<&'static str>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), ca.cert()).unwrap();
        let ca_files = vec![file.path().to_owned(), "/nowhere/service-ca.crt".into()];
        checks(&PushSettings { url: url.parse().unwrap(), token_file: None, ca_files, rate_limit: None }).await
    }

    #[tokio::test]
    async fn shows_a_trusted_certificate() {
        let ca = Authority::new("service CA", HOUR).unwrap();
        let port = server(&ca, "127.0.0.1").await;
        let (checks, obstacle) = of(format!("https://127.0.0.1:{port}/push"), &ca).await;
        assert!(findings(&checks).is_empty() && obstacle.is_none(), "{checks:?}");
        let text = format!("{checks:?}");
        assert!(text.contains("TLS 1.3; CN=127.0.0.1 for 127.0.0.1, issued by CN=service CA"), "{text}");
    }

    #[tokio::test]
    async fn shows_a_certificate_of_another_ca_or_for_another_name() {
        let (ca, other) = (Authority::new("service CA", HOUR).unwrap(), Authority::new("other CA", HOUR).unwrap());
        for (signer, name) in [(&other, "127.0.0.1"), (&ca, "elsewhere.example")] {
            let port = server(signer, name).await;
            let (checks, obstacle) = of(format!("https://127.0.0.1:{port}/push"), &ca).await;
            assert_eq!(findings(&checks), [Code::UntrustedCertificate], "{checks:?}");
            assert!(obstacle.is_some());
            assert!(format!("{checks:?}").contains(&format!("the server shows CN={name} for {name}")), "{checks:?}");
        }
    }

    #[tokio::test]
    async fn does_not_connect_without_an_address_and_shakes_no_hands_without_a_connection() {
        let ca = Authority::new("service CA", HOUR).unwrap();
        let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        for (host, skipped) in [("nowhere.invalid", 2), ("127.0.0.1", 1)] {
            let (checks, obstacle) = of(format!("https://{host}:{free}/push"), &ca).await;
            assert_eq!(findings(&checks), [Code::Unreachable]);
            let last = checks.iter().rev().take_while(|check| matches!(check.outcome, Outcome::Skipped(_))).count();
            assert_eq!((last, obstacle.is_some()), (skipped, true), "{checks:?}");
        }
    }

    #[tokio::test]
    async fn finds_that_no_ca_is_known() {
        let push = PushSettings {
            url: "https://nowhere.invalid/push".parse().unwrap(),
            token_file: None,
            ca_files: vec!["/nowhere/ca.crt".into()],
            rate_limit: None,
        };
        assert_eq!(findings(&checks(&push).await.0), [Code::UntrustedCertificate, Code::Unreachable]);
    }
}
