//! The bodies of requests, limited by their memory.
//!
//! A body gets its memory before its first byte is read, and returns it when its review is answered. Without free memory,
//! it waits. Clients of this port are not authenticated, so a slow body must not keep others waiting: after a few seconds
//! it loses its memory to a body that waits. A part of the memory is reserved for small bodies, so that large bodies never
//! delay an ordinary review.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Two objects of 3 MB, the most the API server sends, with room for the envelope.
pub(crate) const MOST_BYTES: usize = 7 << 20;
/// The largest body of an ordinary review, with a wide margin.
const SMALL: usize = 256 << 10;
/// One part in this many of the memory is reserved for small bodies.
const RESERVED_PART: usize = 6;
/// How long a body may take to arrive while others wait for its memory.
const ARRIVAL: Duration = Duration::from_secs(2);

const TOO_LARGE: Refusal = (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 7 MiB");
const BROKEN: Refusal = (StatusCode::BAD_REQUEST, "the connection ended in the middle of the body");
const LATE: Refusal = (StatusCode::REQUEST_TIMEOUT, "the body did not arrive within the deadline");
const NO_MEMORY: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "no memory for the body: too many large requests at once");

/// The answer to a request whose body is not read.
pub(crate) type Refusal = (StatusCode, &'static str);

/// The memory for all bodies. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Bodies(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    memory: Mutex<Memory>,
    freed: Notify,
}

#[derive(Debug)]
struct Memory {
    free: usize,
    reserved: usize,
    next: u64,
    /// The bodies with memory, in the order in which they got it.
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    since: Instant,
    /// Whether the body has arrived completely.
    whole: bool,
    evicted: CancellationToken,
}

/// The memory of one body. Dropping it returns the memory.
#[derive(Debug)]
struct Share {
    id: u64,
    bodies: Bodies,
    evicted: CancellationToken,
}

/// A complete body, which keeps its memory until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    _share: Share,
}

impl Bodies {
    /// Memory of this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = Memory { free: bytes, reserved: bytes / RESERVED_PART, next: 0, held: BTreeMap::new() };
        Self(Arc::new(Shared { memory: Mutex::new(memory), freed: Notify::new() }))
    }

    /// Reads `body` if it is not too large and arrives in time. `announced` is its length according to the request.
    pub(crate) async fn read(&self, body: Body, announced: Option<usize>, within: Duration) -> Result<Whole, Refusal> {
        let most = announced.unwrap_or(MOST_BYTES);
        if most > MOST_BYTES {
            return Err(TOO_LARGE);
        }
        let end = Instant::now() + within;
        let share = tokio::time::timeout_at(end, self.take(most)).await.or(Err(NO_MEMORY))?;
        let bytes = tokio::select! {
            read = tokio::time::timeout_at(end, read(body, announced)) => read.or(Err(LATE))??,
            () = share.evicted.cancelled() => return Err(NO_MEMORY),
        };
        share.whole();
        Ok(Whole { bytes, _share: share })
    }

    /// Waits for this many bytes of memory.
    async fn take(&self, bytes: usize) -> Share {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            let slowest = match self.try_take(bytes) {
                Ok(share) => return share,
                Err(slowest) => slowest,
            };
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(slowest) => {}
            }
        }
    }

    /// Takes this many bytes if they are free or can be taken from slow bodies. The error is the time of the next attempt.
    fn try_take(&self, bytes: usize) -> Result<Share, Instant> {
        let mut memory = self.lock();
        let now = Instant::now();
        let needed = if bytes > SMALL { bytes.saturating_add(memory.reserved) } else { bytes };
        while memory.free < needed {
            let slowest =
                memory.held.iter().find(|(_, held)| !held.whole).map(|(id, held)| (*id, held.since + ARRIVAL));
            match slowest {
                Some((id, due)) if due <= now => memory.give_back(id),
                Some((_, due)) => return Err(due),
                None => return Err(now + ARRIVAL),
            }
        }
        let (id, evicted) = (memory.next, CancellationToken::new());
        memory.next += 1;
        memory.free -= bytes;
        memory.held.insert(id, Held { bytes, since: now, whole: false, evicted: evicted.clone() });
        Ok(Share { id, bodies: self.clone(), evicted })
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn give_back(&mut self, id: u64) {
        if let Some(held) = self.held.remove(&id) {
            self.free += held.bytes;
            held.evicted.cancel();
        }
    }
}

impl Share {
    /// Records that the body is complete. It keeps its memory until the review is answered.
    fn whole(&self) {
        if let Some(held) = self.bodies.lock().held.get_mut(&self.id) {
            held.whole = true;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bodies.lock().give_back(self.id);
        self.bodies.0.freed.notify_waiters();
    }
}

async fn read(mut body: Body, announced: Option<usize>) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.or(Err(BROKEN))?.into_data() else { continue };
        if bytes.len() + data.len() > announced.unwrap_or(MOST_BYTES) {
            return Err(TOO_LARGE);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    const MIB: usize = 1 << 20;
    const DEADLINE: Duration = Duration::from_secs(8);

    /// A body that never ends.
    fn endless() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    }

    async fn refusal(bodies: &Bodies, body: Body, announced: Option<usize>) -> Option<Refusal> {
        bodies.read(body, announced, DEADLINE).await.err()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_until_another_body_returns_its_memory() {
        let bodies = Bodies::new(12 * MIB);
        let first = bodies.read(Body::from(vec![b' '; 7 * MIB]), Some(7 * MIB), DEADLINE).await.unwrap();
        let waiting = tokio::spawn({
            let bodies = bodies.clone();
            async move { refusal(&bodies, Body::from("x"), None).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(bodies.lock().free, 12 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_a_body_that_gets_no_memory_within_the_deadline() {
        let bodies = Bodies::new(12 * MIB);
        let _held = bodies.read(Body::from("x"), Some(7 * MIB), DEADLINE).await.unwrap();
        assert_eq!(refusal(&bodies, Body::from("x"), Some(7 * MIB)).await, Some(NO_MEMORY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_loses_its_memory_to_one_that_waits() {
        let bodies = Bodies::new(12 * MIB);
        let slow = tokio::spawn({
            let bodies = bodies.clone();
            async move { refusal(&bodies, endless(), Some(7 * MIB)).await }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        assert_eq!(refusal(&bodies, Body::from("x"), Some(7 * MIB)).await, None);
        assert!(start.elapsed() <= 2 * ARRIVAL);
        assert_eq!(slow.await.unwrap(), Some(NO_MEMORY));
        assert_eq!(bodies.lock().free, 12 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_has_until_the_deadline_if_nobody_waits() {
        let bodies = Bodies::new(12 * MIB);
        let start = Instant::now();
        assert_eq!(refusal(&bodies, endless(), Some(10)).await, Some(LATE));
        assert!(start.elapsed() >= DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_leave_room_for_small_ones() {
        let bodies = Bodies::new(12 * MIB);
        let _large = bodies.read(Body::from("x"), Some(7 * MIB), DEADLINE).await.unwrap();
        let start = Instant::now();
        assert_eq!(refusal(&bodies, Body::from("x"), Some(4 * MIB)).await, Some(NO_MEMORY));
        let waited = start.elapsed();
        assert_eq!(refusal(&bodies, Body::from("x"), Some(SMALL)).await, None);
        assert_eq!(start.elapsed(), waited);
    }

    #[tokio::test]
    async fn reads_no_more_than_was_announced() {
        let bodies = Bodies::new(12 * MIB);
        assert_eq!(refusal(&bodies, Body::from("12345"), Some(4)).await, Some(TOO_LARGE));
        assert_eq!(refusal(&bodies, Body::from("12345"), Some(MOST_BYTES + 1)).await, Some(TOO_LARGE));
    }
}
