//! The TLS connections: how many there may be, and how long one may be idle.
//!
//! A new connection always gets a place. If all places are taken, another connection is closed: first the oldest one
//! without a finished handshake, then the one that has been idle longest. So nobody can keep an API server out by holding
//! connections open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use runtime::places::{Place, Places};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower_service::Service;

use crate::metrics::Metrics;

/// The limits for connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections may be open at a time.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of the first request may take after it.
    pub first_request: Duration,
    /// How long a connection may be idle between an answer and the head of the next request.
    pub idle: Duration,
    /// How much memory the bodies of all requests may take together.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server keeps a few connections open. The limit is for other clients.
            connections: 256,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            // An API server closes an unused connection after 90 s. It must close first: if it sends a review while we
            // close, the review is lost, because it does not repeat a POST.
            idle: Duration::from_mins(3),
            // Six bodies of the largest size. With the overhead of reading them, this fits into the memory limit of 128
            // MiB.
            body_bytes: 48 << 20,
        }
    }
}

/// Accepts a limited number of TLS connections.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    tls: RustlsAcceptor,
    places: Places,
    metrics: Metrics,
}

impl Connections {
    pub(crate) fn new(tls: RustlsConfig, limits: &Limits, metrics: Metrics) -> Self {
        let tls = RustlsAcceptor::new(tls).handshake_timeout(limits.handshake);
        Self { tls, places: Places::new(limits.connections), metrics }
    }
}

impl<S> Accept<TcpStream, S> for Connections
where
    S: Send + 'static,
{
    type Stream = Held<<RustlsAcceptor as Accept<TcpStream, S>>::Stream>;
    type Service = Counted<<RustlsAcceptor as Accept<TcpStream, S>>::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // An answer is more than one small write. Nagle's algorithm would hold the second one until the API server
        // acknowledges the first, which it delays by 40 ms. Every pod would wait that long.
        let place = stream.set_nodelay(true).and_then(|()| stream.peer_addr()).map(|peer| self.places.take(peer.ip()));
        let handshake = self.tls.accept(stream, service);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            // A request makes its connection busy only for an instant, so there is always a place to take.
            let place = Arc::new(place?.ok_or_else(given_up)?);
            let (stream, service) = tokio::select! {
                () = place.evicted() => {
                    metrics.connection_refused();
                    return Err(given_up());
                }
                // Load balancers and probes open and close connections without a handshake, which is normal.
                shaken = handshake => shaken.inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))?,
            };
            place.opened();
            let evicted = Box::pin(place.eviction().cancelled_owned());
            Ok((Held { stream, evicted, metrics: Some(metrics) }, Counted { service, place }))
        })
    }
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed to make room for a new connection")
}

/// The stream of one connection. It ends when its place is needed.
pub(crate) struct Held<T> {
    stream: T,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Counts the eviction once.
    metrics: Option<Metrics>,
}

impl<T> Held<T> {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.evicted.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if let Some(metrics) = self.metrics.take() {
            metrics.connection_refused();
            tracing::debug!("closed a connection to make room for a new one");
        }
        Err(given_up())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The service of one connection. Dropping it frees the place.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    place: Arc<Place>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // This marks the connection as used just now. It does not stay busy: a request whose body does not arrive must not
        // keep the place.
        drop(self.place.request());
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use rustls::server::ResolvesServerCertUsingSni;

    use super::*;

    #[tokio::test]
    async fn sends_a_small_answer_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let same = accepted.try_clone().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let metrics = Metrics::register(&mut Registry::default());
        let connections = Connections::new(RustlsConfig::from_config(Arc::new(tls)), &Limits::default(), metrics);
        let _handshake = connections.accept(TcpStream::from_std(accepted).unwrap(), ());
        assert!(same.nodelay().unwrap());
    }
}
