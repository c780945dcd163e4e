//! The ending, while Loki does not answer.

use super::world::*;

/// A shipper with unread lines and a Loki that takes connections and never answers.
async fn stuck(place: &Place, drain: &str) -> (Running, tokio::net::TcpListener) {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    place.write(0, 3);
    let url = format!("http://{}/loki/api/v1/push", silent.local_addr().unwrap());
    let mut running = Running::start(place.command(&url).arg(format!("--drain-timeout={drain}")));
    running.says("shipping").await;
    let _ = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    (running, silent)
}

#[tokio::test]
async fn is_gone_after_the_drain_timeout_and_ships_the_rest_next_time() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let (mut running, _silent) = stuck(&place, "100ms").await;
    running.signal("-TERM");
    running.says("the drain timeout is over").await;
    assert_eq!(running.ends().await.code(), Some(0));
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    assert_eq!(loki.has(3).await, numbered(0, 3));
}

#[tokio::test]
async fn is_gone_at_once_when_told_twice() {
    let place = Place::new();
    let (mut running, _silent) = stuck(&place, "1h").await;
    running.signal("-TERM");
    running.says("shutting down").await;
    running.signal("-TERM");
    assert_eq!(running.ends().await.code(), Some(130));
}
