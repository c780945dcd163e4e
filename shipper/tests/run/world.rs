//! A directory with log files, a Loki that stores pushes, and a running shipper.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};
use redis_log_shipper::push::decode::{PushedStream, decode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

/// The longest wait for an event. A test fails after it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A Loki on a port of its own. It stores every push, unless the test makes it refuse pushes.
pub(crate) struct Loki {
    pub(crate) url: String,
    lines: watch::Receiver<Vec<String>>,
    inner: Arc<Inner>,
    ca: String,
}

struct Inner {
    lines: watch::Sender<Vec<String>>,
    refusal: Mutex<Option<(StatusCode, String)>>,
    /// A text in labels, and the answer to streams with such labels.
    refused_stream: Mutex<Option<(&'static str, StatusCode, &'static str)>>,
    asked: watch::Sender<usize>,
    tokens: Mutex<Vec<String>>,
    streams: Mutex<Vec<PushedStream>>,
}

impl Loki {
    pub(crate) async fn start() -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let inner = Arc::new(Inner {
            lines: sender,
            refusal: Mutex::default(),
            refused_stream: Mutex::default(),
            asked: watch::channel(0).0,
            tokens: Mutex::default(),
            streams: Mutex::default(),
        });
        let routes = Router::new().route("/loki/api/v1/push", post(push)).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, lines, inner, ca: String::new() }
    }

    /// As [`Self::start`], with TLS.
    pub(crate) async fn start_with_tls() -> Self {
        let mut loki = Self::start().await;
        let hour = Duration::from_hours(1);
        let authority = certs::Authority::new("test CA", hour).unwrap();
        let acceptor = acceptor(&authority.serving(&["localhost"], hour).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = loki.url.split('/').nth(2).unwrap().to_owned();
        loki.url = format!("https://localhost:{}/loki/api/v1/push", listener.local_addr().unwrap().port());
        loki.ca = authority.cert().to_owned();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, address) = (acceptor.clone(), address.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate closes the connection.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        loki
    }

    /// The CA of its certificate, as PEM.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// The tokens of all pushes.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.inner.tokens.lock().unwrap().clone()
    }

    /// The stream of every push that it stored, in order.
    pub(crate) fn streams(&self) -> Vec<PushedStream> {
        self.inner.streams.lock().unwrap().clone()
    }

    /// Refuses pushes with this answer from now on, or stores again.
    pub(crate) fn refuse(&self, refusal: Option<(u16, &str)>) {
        let refusal = refusal.map(|(status, text)| (StatusCode::from_u16(status).unwrap(), text.to_owned()));
        *self.inner.refusal.lock().unwrap() = refusal;
    }

    /// Refuses pushes of streams whose labels contain a text, or of none.
    pub(crate) fn refuse_stream(&self, refusal: Option<(&'static str, u16, &'static str)>) {
        let refusal = refusal.map(|(labels, status, text)| (labels, StatusCode::from_u16(status).unwrap(), text));
        *self.inner.refused_stream.lock().unwrap() = refusal;
    }

    /// Waits for this many lines.
    pub(crate) async fn has(&mut self, count: usize) -> Vec<String> {
        let lines = tokio::time::timeout(PATIENCE, self.lines.wait_for(|lines| lines.len() >= count)).await;
        lines.unwrap().unwrap().clone()
    }

    /// Waits for this many more pushes.
    pub(crate) async fn is_asked(&self, times: usize) {
        let mut asked = self.inner.asked.subscribe();
        let enough = *asked.borrow() + times;
        tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked >= enough)).await.unwrap().unwrap();
    }
}

fn acceptor(pair: &certs::PemPair) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap()).into()
}

async fn push(State(loki): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let token = headers.get("authorization").map(|token| token.to_str().unwrap().to_owned());
    loki.tokens.lock().unwrap().extend(token);
    loki.asked.send_modify(|asked| *asked += 1);
    if let Some(refusal) = loki.refusal.lock().unwrap().clone() {
        return refusal;
    }
    let streams = decode(&body).unwrap();
    if let Some((labels, status, text)) = *loki.refused_stream.lock().unwrap()
        && streams.iter().any(|stream| stream.labels.contains(labels))
    {
        return (status, text.to_owned());
    }
    loki.streams.lock().unwrap().extend(streams.iter().cloned());
    let pushed = streams.into_iter().flat_map(|stream| stream.entries).map(|(_, line)| line);
    loki.lines.send_modify(|lines| lines.extend(pushed));
    (StatusCode::NO_CONTENT, String::new())
}

/// The log directory.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.logs()).unwrap();
        place
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// A path beside the logs.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, from: usize, to: usize) {
        let mut text = String::new();
        for number in from..to {
            writeln!(text, "line {number}").unwrap();
        }
        append(&self.logs().join("a.log"), &text);
    }

    /// `run` with the flags that all tests share.
    pub(crate) fn command(&self, url: &str) -> Command {
        let mut command = shipper();
        command.arg("run").arg(format!("--loki-url={url}")).arg("--batch-wait=10ms");
        command.args(["--log-dir".as_ref(), self.logs().as_os_str(), "--state-dir".as_ref(), self.state().as_os_str()]);
        command
    }
}

pub(crate) fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

pub(crate) fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("line {number}")).collect()
}

pub(crate) fn shipper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-log-shipper"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

pub(crate) fn terminate(child: &Child) {
    kill(child, "-TERM");
}

/// A running shipper and its log.
pub(crate) struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, said: String::new() }
    }

    /// Waits for a line of its log with `text`.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        if let Some(line) = self.said.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        let read = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(text) {
                    return line;
                }
            }
            panic!("it ended and never said {text:?}:\n{}", self.said);
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("it never says {text:?}"))
    }

    /// Everything it said, once it has ended.
    pub(crate) async fn said_all(mut self) -> String {
        while let Some(line) = self.log.next_line().await.unwrap() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        self.said
    }

    /// The address of its admin port.
    pub(crate) async fn admin(&mut self) -> SocketAddr {
        let line: Value = serde_json::from_str(&self.says("the admin port is open").await).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until `so` accepts the answer of `/status`, and returns it.
    pub(crate) async fn status_when(&mut self, so: impl Fn(&Value) -> bool) -> Value {
        let admin = self.admin().await;
        let mut last = Value::Null;
        let asks = async {
            loop {
                last = serde_json::from_str(&get(admin, "/status").await.1).unwrap();
                if so(&last) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, asks).await;
        assert!(answered.is_ok(), "it never says so: {last}");
        last
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(&self.child, signal);
    }

    pub(crate) async fn ends(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    pub(crate) async fn ends_when_told_to(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.ends().await.code(), Some(0), "{}", self.said);
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = runtime::tls::http_client(rustls::RootCertStore::empty());
    let request = hyper::Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

pub(crate) async fn output(command: &mut Command) -> Output {
    tokio::time::timeout(PATIENCE, command.stdout(Stdio::piped()).stderr(Stdio::piped()).output())
        .await
        .unwrap()
        .unwrap()
}
