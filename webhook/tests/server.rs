//! The HTTPS server, with clients that behave like an API server and clients that do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use certs::{Authority, ServingCert};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, Version};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prometheus_client::registry::Registry;
use redis_log_webhook::cluster::asking::Asking;
use redis_log_webhook::cluster::knowledge::Knowledge;
use redis_log_webhook::config::Config;
use redis_log_webhook::connections::Limits;
use redis_log_webhook::events::{Events, Queue};
use redis_log_webhook::metrics::Metrics;
use redis_log_webhook::server::{Webhook, serve};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_hours(1);
/// The timeout for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A limit that is reached soon.
const SOON: Duration = Duration::from_millis(20);

/// A webhook on the loopback interface.
struct Running {
    address: SocketAddr,
    ca: String,
    config: Arc<ArcSwap<Config>>,
    registry: Registry,
    leaving: CancellationToken,
    told: Queue,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::asking(limits, None)
    }

    /// Like `with`, with a check of client certificates.
    fn asking(limits: Limits, clients: Option<Arc<dyn ClientCertVerifier>>) -> Self {
        let ca = Authority::new("test", HOUR).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let pair = ca.serving(&["localhost"], HOUR).unwrap();
        std::fs::write(dir.path().join(certs::CERT_FILE), pair.cert).unwrap();
        std::fs::write(dir.path().join(certs::KEY_FILE), pair.key).unwrap();
        let cert = ServingCert::read(dir.path()).unwrap();
        let tls = clients.map_or_else(|| cert.server_config(), |clients| cert.server_config_for(clients)).unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (mut registry, leaving, shutdown) =
            (Registry::default(), CancellationToken::new(), CancellationToken::new());
        let metrics = Metrics::register(&mut registry);
        let config = Arc::new(ArcSwap::from_pointee(Config::default()));
        let (events, told) = Events::new(metrics.clone());
        let webhook = Webhook {
            config: config.clone(),
            events,
            asking: Asking::default(),
            knowledge: Knowledge::default(),
            metrics,
            leaving: leaving.clone(),
        };
        let server = tokio::spawn(serve(listener, tls, limits, webhook, shutdown.clone()));
        Self { address, ca: ca.cert().to_owned(), config, registry, leaving, told, shutdown, server }
    }

    fn tls(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    async fn send(&self, request: Request<Full<Bytes>>, tls: ClientConfig) -> (StatusCode, Version, Bytes) {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector = match request.version() {
            Version::HTTP_2 => connector.enable_http2().build(),
            _ => connector.enable_http1().build(),
        };
        let http2 = request.version() == Version::HTTP_2;
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build(connector);
        let answer = client.request(request).await.unwrap();
        let (status, version) = (answer.status(), answer.version());
        (status, version, answer.into_body().collect().await.unwrap().to_bytes())
    }

    fn request(&self, method: Method, path: &str, media_type: Option<&str>, body: String) -> Request<Full<Bytes>> {
        let url = format!("https://localhost:{}{path}", self.address.port());
        let mut request = Request::builder().method(method).uri(url);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request.body(Full::from(body)).unwrap()
    }

    async fn status(&self, method: Method, path: &str, media_type: Option<&str>, body: String) -> StatusCode {
        let request = self.request(method, path, media_type, body);
        self.send(request, self.tls(rustls::ALL_VERSIONS)).await.0
    }

    /// Opens a connection. Fails if the server closes it before the handshake is finished.
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.tls(rustls::ALL_VERSIONS)));
        connector.connect("localhost".try_into().unwrap(), tcp).await
    }

    /// Sends bytes over TLS, and returns everything that the server sends until it has answered.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await.unwrap();
        exchange(&mut stream, bytes).await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Sends bytes, and returns the first bytes that come back.
async fn exchange(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 64 << 10];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Waits until the server closes a connection, and ignores what it sends before.
async fn closed(mut stream: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // A connection may be closed without the end marker of TLS.
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is still open");
}

/// A review as an HTTP/1.1 request.
fn post() -> Vec<u8> {
    post_to("/mutate")
}

fn post_to(path: &str) -> Vec<u8> {
    let body = review();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn review() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/a-vanilla.pod.yaml");
    let pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "redis", "operation": "CREATE", "object": pod,
        },
    })
    .to_string()
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn answers_over_tls_1_2_and_1_3_and_over_http_1_1_and_2() {
    let running = Running::start();
    for tls in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut request = running.request(Method::POST, "/mutate?timeout=5s&x=y", JSON, review());
            *request.version_mut() = version;
            let (status, answered, body) = running.send(request, running.tls(&[tls])).await;
            assert_eq!((status, answered), (StatusCode::OK, version));
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["response"]["uid"], "u-1");
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
        }
    }
}

#[tokio::test]
async fn refuses_an_invalid_request_with_the_matching_status() {
    let running = Running::start();
    for (method, path, media_type, body, expected) in [
        (Method::POST, "/mutate", Some("application/json; charset=utf-8"), review(), StatusCode::OK),
        (Method::POST, "/mutate", Some("text/plain"), review(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/mutate", None, review(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::GET, "/mutate", None, String::new(), StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/validate", JSON, review(), StatusCode::NOT_FOUND),
        (Method::POST, "/mutate", JSON, "{".to_owned(), StatusCode::BAD_REQUEST),
        (Method::POST, "/mutate", JSON, "{}".to_owned(), StatusCode::BAD_REQUEST),
        (Method::POST, "/mutate", JSON, review() + &" ".repeat(3 << 20), StatusCode::OK),
    ] {
        let name = format!("{method} {path} {media_type:?}");
        assert_eq!(running.status(method, path, media_type, body).await, expected, "{name}");
    }
    // Two have the wrong media type, two the wrong content. The others do not reach the webhook.
    assert!(running.metrics().contains("redis_log_webhook_refused_requests_total 4"), "{}", running.metrics());
}

#[tokio::test]
async fn refuses_a_body_over_the_limit_before_reading_it() {
    let running = Running::start();
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 7340033\r\n\r\n";
    let answer = running.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn refuses_a_body_over_the_limit_that_does_not_say_how_long_it_is() {
    let running = Running::start();
    let mut request =
        b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    request.extend_from_slice(format!("{:x}\r\n", (7 << 20) + 1).as_bytes());
    request.resize(request.len() + (7 << 20) + 1, b' ');
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = running.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn stops_waiting_for_a_body_at_the_api_servers_deadline() {
    let running = Running::start();
    let head = "POST /mutate?timeout=50ms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    let answer = running.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn leaves_a_pod_alone_after_the_deadline() {
    let running = Running::start();
    let answer = running.raw(&post_to("/mutate?timeout=0s")).await;
    let late = answer.starts_with("HTTP/1.1 408");
    assert!(late || answer.starts_with("HTTP/1.1 200") && answer.contains(r#""outcome":"failed""#), "{answer}");
}

#[tokio::test]
async fn takes_a_new_configuration_without_a_new_connection() {
    let running = Running::start();
    let answer = async || {
        let request = running.request(Method::POST, "/mutate", JSON, review());
        running.send(request, running.tls(rustls::ALL_VERSIONS)).await.2
    };
    let before = answer().await;
    running.config.store(Arc::new(Config { image: "other:1".to_owned(), ..Config::default() }));
    assert_ne!(before, answer().await);
}

#[tokio::test]
async fn counts_reviews_by_outcome_and_survives_connections_that_only_open_and_close() {
    let running = Running::start();
    for _ in 0..3 {
        drop(TcpStream::connect(running.address).await.unwrap());
    }
    running.status(Method::POST, "/mutate", JSON, review()).await;
    let text = running.metrics();
    let counted = r#"redis_log_webhook_reviews_total{outcome="injected",dry_run="false"} 1"#;
    assert!(text.contains(counted), "{text}");
    assert!(text.contains(r#"redis_log_webhook_review_duration_seconds_bucket{le="0.0001"}"#), "{text}");
}

#[tokio::test]
async fn closes_a_connection_that_does_not_finish_its_handshake() {
    let running = Running::with(Limits { handshake: SOON, ..Limits::default() });
    closed(TcpStream::connect(running.address).await.unwrap()).await;
}

#[tokio::test]
async fn closes_a_connection_that_does_not_send_the_head_of_a_request() {
    let running = Running::with(Limits { first_request: SOON, ..Limits::default() });
    for head in ["", "PO", "POST /mutate HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = running.connect().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        closed(stream).await;
    }
}

#[tokio::test]
async fn closes_a_connection_that_is_not_used_any_more() {
    let running = Running::with(Limits { idle: SOON, ..Limits::default() });
    let mut stream = running.connect().await.unwrap();
    assert!(exchange(&mut stream, &post()).await.starts_with("HTTP/1.1 200"));
    closed(stream).await;
}

#[tokio::test]
async fn keeps_a_connection_for_the_next_request_longer_than_it_waits_for_a_first_one() {
    let running = Running::with(Limits { first_request: SOON, ..Limits::default() });
    let mut used = running.connect().await.unwrap();
    assert!(exchange(&mut used, &post()).await.starts_with("HTTP/1.1 200"));
    closed(running.connect().await.unwrap()).await;
    assert!(exchange(&mut used, &post()).await.starts_with("HTTP/1.1 200"));
}

#[test]
fn keeps_a_connection_longer_than_an_api_server_does() {
    // The API server's HTTP client closes a connection that was unused for 90 s.
    assert!(Limits::default().idle > Duration::from_secs(90));
}

#[tokio::test]
async fn answers_a_new_connection_whatever_others_hold_open() {
    let running = Running::with(Limits { connections: 4, ..Limits::default() });
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(running.connect().await.unwrap());
    }
    // A request without its body keeps no place.
    let head = b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    for stream in &mut idle {
        stream.write_all(head).await.unwrap();
    }
    for _ in 0..8 {
        assert!(running.raw(&post()).await.starts_with("HTTP/1.1 200"));
    }
    closed(idle.remove(0)).await;
    assert!(!running.metrics().contains("redis_log_webhook_connections_refused_total 0"), "{}", running.metrics());
}

#[tokio::test]
async fn ends_a_connection_without_a_finished_handshake_before_one_with() {
    let running = Running::with(Limits { connections: 2, ..Limits::default() });
    let mut open = running.connect().await.unwrap();
    let unfinished = TcpStream::connect(running.address).await.unwrap();
    // Connections are accepted in order, so its place is taken before the next one comes.
    assert!(running.raw(&post()).await.starts_with("HTTP/1.1 200"));
    closed(unfinished).await;
    assert!(exchange(&mut open, &post()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn answers_though_slow_bodies_hold_all_the_memory() {
    let running = Running::with(Limits { body_bytes: 12 << 20, ..Limits::default() });
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 262144\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..48 {
        let mut stream = running.connect().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert!(running.raw(&post()).await.starts_with("HTTP/1.1 200"));
}

/// Whether a client with this certificate, or with none, gets an answer to a review.
async fn answers(running: &Running, pair: Option<&certs::PemPair>) -> bool {
    let mut tls = running.tls(rustls::ALL_VERSIONS);
    if let Some(pair) = pair {
        let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        tls.client_auth_cert_resolver =
            Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key)));
    }
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let Ok(mut stream) = connector.connect("localhost".try_into().unwrap(), tcp).await else { return false };
    // In TLS 1.3, the server's refusal comes after the client's handshake.
    let mut answer = vec![0; 1 << 10];
    stream.write_all(&post()).await.is_ok()
        && stream.read(&mut answer).await.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn answers_only_clients_that_the_configured_authority_names() {
    let (ours, other) = (Authority::new("clients", HOUR).unwrap(), Authority::new("others", HOUR).unwrap());
    let verifier = |names: &[&str]| {
        let authority = CertificateDer::from_pem_slice(ours.cert().as_bytes()).unwrap();
        Some(certs::client_verifier(vec![authority], names.iter().map(ToString::to_string).collect()).unwrap())
    };
    let api_server = ours.client("api-server", "x", HOUR).unwrap();
    let neighbour = ours.client("neighbour", "x", HOUR).unwrap();
    let stranger = other.client("api-server", "x", HOUR).unwrap();

    let running = Running::asking(Limits::default(), verifier(&[]));
    assert!(answers(&running, Some(&api_server)).await && answers(&running, Some(&neighbour)).await);
    assert!(!answers(&running, Some(&stranger)).await && !answers(&running, None).await);

    let running = Running::asking(Limits::default(), verifier(&["api-server"]));
    assert!(answers(&running, Some(&api_server)).await && !answers(&running, Some(&neighbour)).await);
    assert!(!answers(&running, Some(&stranger)).await && !answers(&running, None).await);
}

#[tokio::test]
async fn closes_connections_after_an_answer_during_the_shutdown() {
    let running = Running::start();
    let mut stream = running.connect().await.unwrap();
    let before = exchange(&mut stream, &post()).await;
    assert!(before.starts_with("HTTP/1.1 200") && !before.contains("connection: close"), "{before}");
    running.leaving.cancel();
    let last = exchange(&mut stream, &post()).await;
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("connection: close"), "{last}");
    closed(stream).await;
    // New connections are still answered, also over HTTP/2, which does not allow that header.
    let mut request = running.request(Method::POST, "/mutate", JSON, review());
    *request.version_mut() = Version::HTTP_2;
    assert_eq!(running.send(request, running.tls(rustls::ALL_VERSIONS)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn creates_events_unless_it_is_a_dry_run() {
    let running = Running::start();
    let dry = review().replace(r#""operation":"CREATE""#, r#""operation":"CREATE","dryRun":true"#);
    let dry = dry.replace(r#""name":"rec-0""#, r#""name":"dry""#);
    for body in [dry, review()] {
        assert_eq!(running.status(Method::POST, "/mutate", JSON, body).await, StatusCode::OK);
    }
    let (seen, mut events) = tokio::sync::mpsc::unbounded_channel();
    let create = async move |axum::Json(event): axum::Json<Value>| {
        seen.send(event.clone()).unwrap();
        axum::Json(event)
    };
    let found = |metadata: Value| {
        let found = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
        axum::routing::get(async move || axum::Json(found.clone()))
    };
    let api = axum::Router::new()
        .route("/api/v1/namespaces/redis/events", axum::routing::post(create))
        .route("/api/v1/namespaces/redis", found(json!({"labels": {"redis-log-shipper.io/inject": "enabled"}})))
        .route(
            "/apis/apps/v1/namespaces/redis/statefulsets/rec",
            found(json!({"uid": "3f0c6f0e-6d0b-4a57-9d0e-4a4b6f0c1a10"})),
        );
    let sending = tokio::spawn(running.told.send(kube::Client::new(api, "redis")));
    let first = tokio::time::timeout(PATIENCE, events.recv()).await.expect("nobody is told").unwrap();
    sending.abort();
    assert_eq!(first["message"], "pod rec-0: the log shipper was added");
}

#[tokio::test]
async fn ends_on_a_signal() {
    let running = Running::start();
    running.status(Method::POST, "/mutate", JSON, review()).await;
    running.shutdown.cancel();
    tokio::time::timeout(PATIENCE, running.server).await.expect("still serving").unwrap().unwrap();
}
