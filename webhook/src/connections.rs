//! The TLS connections: how many at a time, and how long one may take to come up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// An API server keeps a handful open. This bounds what anybody else can make us hold.
const MAX_CONNECTIONS: usize = 512;

/// Accepts TLS connections, up to a number.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    tls: RustlsAcceptor,
    free: Arc<Semaphore>,
}

impl Connections {
    pub(crate) fn new(tls: RustlsConfig) -> Self {
        Self {
            tls: RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE_TIMEOUT),
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

impl<I, S> Accept<I, S> for Connections
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + 'static,
{
    type Stream = <RustlsAcceptor as Accept<I, S>>::Stream;
    type Service = Counted<<RustlsAcceptor as Accept<I, S>>::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let permit = self.free.clone().try_acquire_owned();
        let handshake = self.tls.accept(stream, service);
        Box::pin(async move {
            let Ok(permit) = permit else {
                tracing::warn!(limit = MAX_CONNECTIONS, "too many connections, closed one");
                return Err(io::Error::other("too many connections"));
            };
            match handshake.await {
                Ok((stream, service)) => Ok((stream, Counted { service, _permit: Arc::new(permit) })),
                Err(error) => {
                    // Load balancers and probes open a connection and close it again; that is no error.
                    tracing::debug!(%error, "a TLS handshake failed");
                    Err(error)
                }
            }
        })
    }
}

/// The service of one connection, which gives its place back when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    service: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.service.call(request)
    }
}
