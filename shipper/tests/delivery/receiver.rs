//! A Loki in memory with scripted answers. As in Loki, entries of one stream with the same timestamp and text are one.
//! Connections are pipes inside the process, so a paused clock moves only when all tasks wait.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use redis_log_shipper::push::decode::{PushedStream, decode};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// The capacity of a pipe in bytes.
const PIPE: usize = 64 << 10;

/// The answer to a push, and its effect.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The push is stored: 204.
    Stored,
    /// The push is stored, and the answer is lost.
    StoredInSilence,
    /// Lines with the first text are rejected, all others are stored. The answer is a 400 with the second text.
    StoredExcept(&'static str, &'static str),
    /// Entries up to this timestamp are stored. The answer is a 400 that calls the others too new.
    StoredUpTo(i64),
    /// Nothing is stored. The answer has this status and text.
    Refused(u16, String),
    /// As `Refused`, with a header.
    RefusedWith(u16, &'static str, String),
    /// Nothing is stored, and the connection breaks.
    Reset,
    /// Nothing is stored, and there is no answer.
    Nothing,
    /// The other answer, after this time.
    After(Duration, Box<Answer>),
}

impl Answer {
    /// A refusal with this text.
    pub(crate) fn refused(status: u16, text: &str) -> Self {
        Self::Refused(status, text.to_owned())
    }
}

/// A push as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) method: Method,
    pub(crate) token: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) streams: Vec<PushedStream>,
    pub(crate) at: Instant,
}

impl Push {
    /// The lines of all streams.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().flat_map(|stream| &stream.entries).map(|(_, line)| line.as_str())
    }
}

type Rule = dyn FnMut(&Push) -> Answer + Send;

struct Inner {
    rule: Box<Rule>,
    pushes: Vec<Push>,
    dialed: Vec<String>,
    down: bool,
    /// Ends the open connections.
    cut: CancellationToken,
    /// Has one reference more for each connection.
    open: Arc<()>,
    tls: Option<TlsAcceptor>,
    stored: Vec<(String, i64, String)>,
}

/// The receiver, which is also the connector to itself. Clones share one state.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<Mutex<Inner>>);

impl Receiver {
    /// A receiver with this rule for answers.
    pub(crate) fn new(rule: impl FnMut(&Push) -> Answer + Send + 'static) -> Self {
        let inner = Inner {
            rule: Box::new(rule),
            pushes: Vec::new(),
            dialed: Vec::new(),
            down: false,
            cut: CancellationToken::new(),
            open: Arc::new(()),
            tls: None,
            stored: Vec::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// A receiver that gives these answers in order, and then stores everything.
    pub(crate) fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self::new(move |_| answers.pop().unwrap_or(Answer::Stored))
    }

    /// Gives this answer next, and then stores everything.
    pub(crate) fn answer_with(&self, answer: Answer) {
        let mut answer = Some(answer);
        self.lock().rule = Box::new(move |_| answer.take().unwrap_or(Answer::Stored));
    }

    /// Serves TLS with this certificate and key from the next connection on.
    pub(crate) fn serve_tls(&self, pair: &certs::PemPair) {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        self.lock().tls = Some(TlsAcceptor::from(Arc::new(config)));
    }

    /// Breaks all connections and refuses new ones, or accepts them again.
    pub(crate) fn set_down(&self, down: bool) {
        let mut inner = self.lock();
        inner.down = down;
        std::mem::take(&mut inner.cut).cancel();
    }

    /// All pushes so far.
    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.lock().pushes.clone()
    }

    /// The hosts of all connection attempts.
    pub(crate) fn dialed(&self) -> Vec<String> {
        self.lock().dialed.clone()
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        Arc::strong_count(&self.lock().open) - 1
    }

    /// The stored entries in order of arrival, with repetitions: stream, timestamp and line.
    pub(crate) fn stored(&self) -> Vec<(String, i64, String)> {
        self.lock().stored.clone()
    }

    /// The lines that LogQL shows, in order of arrival.
    pub(crate) fn shown(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        self.stored().into_iter().filter(|entry| known.insert(entry.clone())).map(|(_, _, line)| line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn answer(&self, method: Method, headers: &HeaderMap, body: Bytes) -> Answer {
        let streams = decode(&body).unwrap();
        let token = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let push = Push { method, token, body, streams, at: Instant::now() };
        let mut inner = self.lock();
        let answer = (inner.rule)(&push);
        let mut said = &answer;
        while let Answer::After(_, then) = said {
            said = then;
        }
        let without = match said {
            Answer::Stored | Answer::StoredInSilence | Answer::StoredUpTo(_) => Some(None),
            Answer::StoredExcept(text, _) => Some(Some(*text)),
            _ => None,
        };
        let latest = if let Answer::StoredUpTo(latest) = said { *latest } else { i64::MAX };
        if let Some(without) = without {
            for stream in &push.streams {
                for (time, line) in &stream.entries {
                    if *time <= latest && without.is_none_or(|text| !line.contains(text)) {
                        inner.stored.push((stream.labels.clone(), *time, line.clone()));
                    }
                }
            }
        }
        inner.pushes.push(push);
        answer
    }

    async fn handle(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Gone> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_broken| Gone)?.to_bytes();
        let mut answer = self.answer(head.method, &head.headers, body);
        while let Answer::After(wait, then) = answer {
            tokio::time::sleep(wait).await;
            answer = *then;
        }
        let (status, header, text) = match answer {
            Answer::Stored => (204, None, String::new()),
            Answer::StoredExcept(_, text) => (400, None, text.to_owned()),
            Answer::StoredUpTo(_) => (400, None, "entry for stream '{}' has timestamp too new: x".to_owned()),
            Answer::Refused(status, text) => (status, None, text),
            Answer::RefusedWith(status, name, value) => (status, Some((name, value)), String::new()),
            Answer::Reset | Answer::StoredInSilence => return Err(Gone),
            Answer::Nothing => std::future::pending().await,
            Answer::After(..) => unreachable!("taken off above"),
        };
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        Ok(response.body(Full::from(text)).unwrap())
    }

    async fn serve(self, pipe: DuplexStream) {
        let service = hyper::service::service_fn(|request| self.clone().handle(request));
        let http = hyper::server::conn::http1::Builder::new();
        let tls = self.lock().tls.clone();
        let cut = self.lock().cut.clone();
        let _open = self.lock().open.clone();
        let connection = async {
            // The rule, or a client that does not trust the certificate, may break the connection.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(pipe), service).await.map_err(|_broken| ()),
                Some(tls) => match tls.accept(pipe).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await.map_err(|_broken| ()),
                    Err(_refused) => Ok(()),
                },
            };
        };
        cut.run_until_cancelled(connection).await;
    }
}

/// The connection breaks without an answer.
#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("gone")
    }
}

impl std::error::Error for Gone {}

impl Service<Uri> for Receiver {
    type Response = Wire;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.lock().dialed.push(uri.host().unwrap().to_owned());
        if self.lock().down {
            return std::future::ready(Err(std::io::ErrorKind::ConnectionRefused.into()));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        tokio::spawn(self.clone().serve(theirs));
        std::future::ready(Ok(Wire::new(ours)))
    }
}

/// The client's end of a connection.
pub(crate) struct Wire(TokioIo<DuplexStream>);

impl Wire {
    /// A connection over this pipe.
    pub(crate) fn new(pipe: DuplexStream) -> Self {
        Self(TokioIo::new(pipe))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
