//! Answers that break off or never end: the client uses the part that arrived.

use std::sync::Arc;
use std::task::{Context, Poll};

use redis_log_shipper::batch::MetadataSwitch;
use redis_log_shipper::push::{Loki, PushSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tower_service::Service;

use super::world::*;
use crate::receiver::Wire;

/// The server's behaviour after its answer.
#[derive(Clone, Copy)]
enum Then {
    /// It closes the connection.
    HangUp,
    /// It sends nothing more.
    FallSilent,
    /// It sends bytes forever.
    GoOn,
    /// It sends this text again and again.
    Repeat(&'static str),
}

/// A server that writes these bytes to its first connection, and `204` to all others.
#[derive(Clone)]
struct Raw(Arc<Mutex<Option<(&'static str, Then)>>>);

impl Service<Uri> for Raw {
    type Response = Wire;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let answer = self.0.lock().unwrap().take();
        tokio::spawn(serve(theirs, answer.unwrap_or(("HTTP/1.1 204 No Content\r\n\r\n", Then::FallSilent))));
        std::future::ready(Ok(Wire::new(ours)))
    }
}

async fn serve(mut pipe: DuplexStream, (text, then): (&'static str, Then)) {
    let mut request = vec![0; 64 << 10];
    let _ = pipe.read(&mut request).await.unwrap();
    pipe.write_all(text.as_bytes()).await.unwrap();
    match then {
        Then::HangUp => {}
        Then::FallSilent => std::future::pending().await,
        Then::Repeat(text) => {
            while pipe.write_all(text.as_bytes()).await.is_ok() {
                // The client reads each piece separately.
                tokio::task::yield_now().await;
            }
        }
        Then::GoOn => while pipe.write_all(&[b'x'; 4096]).await.is_ok() {},
    }
}

/// Pushes one batch to a server with this first answer. Returns the failures and the time that the push took.
async fn pushed(answer: &'static str, then: Then) -> (Vec<(Trouble, usize)>, Duration) {
    let raw = Raw(Arc::new(Mutex::new(Some((answer, then)))));
    let url = Uri::from_static("http://loki.test/loki/api/v1/push");
    let settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
    let (mut loki, failures) = (Loki::over(raw, settings, MetadataSwitch::default()), Mutex::new(Vec::new()));
    let (start, (body, entries)) = (Instant::now(), batch(&lines(3)));
    let heard = |failure: &redis_log_shipper::push::Failure<'_>| {
        failures.lock().unwrap().push((failure.trouble.clone(), failure.answer.len()));
    };
    assert_eq!(loki.push(&body, entries, heard).await, Rejections::default());
    (failures.into_inner().unwrap(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn takes_the_status_where_the_text_breaks_off_or_never_comes() {
    let down = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100\r\n\r\nsorry";
    for then in [Then::HangUp, Then::FallSilent] {
        let (failures, took) = pushed(down, then).await;
        assert_eq!(failures, [(Trouble::Unavailable(None), "503 Service Unavailable: sorry".len())]);
        assert!(took <= Duration::from_secs(6), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn takes_nothing_for_stored_where_a_text_that_was_announced_never_comes() {
    for text in ["", "tha"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{text}").leak();
        let (failures, _) = pushed(answer, Then::HangUp).await;
        assert!(matches!(failures[..], [(Trouble::Unexpected, _)]), "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ends_an_answer_that_comes_in_countless_pieces() {
    let (failures, took) = pushed("", Then::Repeat("HTTP/1.1 100 Continue\r\n\r\n")).await;
    assert!(matches!(failures[..], [(Trouble::NoAnswer(_), _)]), "{failures:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let chunked = "HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n";
    let (failures, took) = pushed(chunked, Then::Repeat("1\r\nx\r\n")).await;
    assert!(matches!(failures[..], [(Trouble::Unavailable(None), _)]), "{failures:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn reads_a_bounded_part_of_an_answer_that_never_ends() {
    let endless = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 99999999999\r\n\r\n";
    let (failures, took) = pushed(endless, Then::GoOn).await;
    // The failure quotes the part that arrived.
    assert_eq!(failures, [(Trouble::Unavailable(None), "503 Service Unavailable: ".len() + 500)]);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn resends_where_the_head_breaks_off_or_never_ends() {
    for (head, then) in [
        ("HTTP/1.1 20", Then::HangUp),
        ("no HTTP at all\r\n\r\n", Then::HangUp),
        ("HTTP/1.1 204 No Content\r\nx: ", Then::FallSilent),
        ("HTTP/1.1 204 No Content\r\nx: ", Then::GoOn),
    ] {
        let (failures, took) = pushed(head, then).await;
        assert!(matches!(failures[..], [(Trouble::NoAnswer(_), _)]), "{head}: {failures:?}");
        assert!(took <= Duration::from_secs(31), "{took:?}");
    }
}
