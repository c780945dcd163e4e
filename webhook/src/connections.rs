//! The TLS connections: how many at a time, and how long one may do nothing.

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

use crate::metrics::Metrics;

/// What a connection may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are open at a time.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of the first request may take after it.
    pub first_request: Duration,
    /// How long a connection is kept from one answer to the head of the next request.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server keeps a handful open. This bounds what anybody else can make us hold.
            connections: 512,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            // An API server gives up an unused connection after 90 s. It must be the first to do so: a review that it
            // sends while we close is lost, for it does not repeat a POST.
            idle: Duration::from_mins(3),
        }
    }
}

/// Accepts TLS connections, up to a number.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    tls: RustlsAcceptor,
    limit: usize,
    free: Arc<Semaphore>,
    metrics: Metrics,
}

impl Connections {
    pub(crate) fn new(tls: RustlsConfig, limits: &Limits, metrics: Metrics) -> Self {
        Self {
            tls: RustlsAcceptor::new(tls).handshake_timeout(limits.handshake),
            limit: limits.connections,
            free: Arc::new(Semaphore::new(limits.connections)),
            metrics,
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
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            self.metrics.connection_refused();
            tracing::warn!(limit = self.limit, "too many connections, closed one");
            return Box::pin(std::future::ready(Err(io::Error::other("too many connections"))));
        };
        let handshake = self.tls.accept(stream, service);
        Box::pin(async move {
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
