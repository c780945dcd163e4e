//! Connections with a read budget, which each request renews.
//!
//! A limit on the body does not stop every endless answer: a server may repeat `100 Continue`, or send byte by byte. Either
//! would cost a whole core. So the connection fails once it has received too many bytes, or too many pieces.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// The limit of an answer's bytes, including TLS: the limit of the body, and as much again for everything else.
const BYTES: u64 = 2 << 20;
/// The limit of the pieces in which an answer may arrive.
const READS: u64 = 20_000;
/// How many bytes are read at a time.
const CHUNK: usize = 8 << 10;

/// Makes connections: to TCP ports, or to a receiver in memory.
pub trait Dial:
    Clone + Send + Sync + Service<Uri, Response: Wire, Future: Send + 'static, Error: Into<BoxError>> + 'static
{
}

impl<D> Dial for D where
    D: Clone + Send + Sync + Service<Uri, Response: Wire, Future: Send + 'static, Error: Into<BoxError>> + 'static
{
}

/// A connection that can carry HTTP.
pub trait Wire: Read + Write + Connection + Send + Unpin + 'static {}

impl<W: Read + Write + Connection + Send + Unpin + 'static> Wire for W {}

/// Any error of a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The rest of an answer's budget.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<Left>);

#[derive(Debug, Default)]
struct Left {
    bytes: AtomicU64,
    reads: AtomicU64,
}

impl Budget {
    /// Restores the full budget, for a new request.
    pub(super) fn renew(&self) {
        self.0.bytes.store(BYTES, Ordering::Relaxed);
        self.0.reads.store(READS, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let take = |left: &AtomicU64, some: u64| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(some)).is_ok()
        };
        if take(&self.0.bytes, bytes as u64) && take(&self.0.reads, 1) {
            return Ok(());
        }
        Err(io::Error::other("the answer is too long, or arrives in too many pieces"))
    }
}

/// Makes connections with a budget.
#[derive(Clone, Debug)]
pub(super) struct MeteredDial<D> {
    pub(super) dial: D,
    pub(super) budget: Budget,
}

impl<D: Dial> Service<Uri> for MeteredDial<D> {
    type Response = Metered<D::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dial.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (dialing, budget) = (self.dial.call(uri), self.budget.clone());
        Box::pin(async move { Ok(Metered { wire: dialing.await.map_err(Into::into)?, budget }) })
    }
}

/// A connection with a budget.
#[derive(Debug)]
pub(super) struct Metered<W> {
    wire: W,
    budget: Budget,
}

impl<W: Wire> Connection for Metered<W> {
    fn connected(&self) -> Connected {
        self.wire.connected()
    }
}

impl<W: Wire> Read for Metered<W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK];
        let room = chunk.get_mut(..CHUNK.min(buf.remaining())).unwrap_or_default();
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(&mut self.wire).poll_read(cx, read.unfilled()))?;
        self.budget.spend(read.filled().len())?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<W: Wire> Write for Metered<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }
}
