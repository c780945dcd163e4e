//! Loki refuses one of two streams and stores the other.

use super::world::*;

const LIMIT: &str = "maximum active stream limit exceeded when trying to create stream {log_file=\"b\"}, reduce the number of \
                     active streams";

/// `a.log` and `b.log` with five shipped lines each. From then on Loki refuses the stream of `b.log`.
async fn refused(place: &Place, loki: &mut Loki) -> Running {
    loki.refuse_stream(Some(("log_file=\"b\"", 429, LIMIT)));
    let text = "b 0\nb 1\nb 2\nb 3\nb 4\n";
    append(&place.logs().join("b.log"), text);
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    let said = running.says("Loki refuses only this stream").await;
    assert!(said.contains("b.log") && said.contains("throttled"), "{said}");
    // Lines of the other file keep arriving. The refused file gets more lines and is rotated.
    for number in 0..5 {
        if number == 2 {
            std::fs::rename(place.logs().join("b.log"), place.logs().join("b.log.1")).unwrap();
        }
        place.write(number, number + 1);
        append(&place.logs().join("b.log"), &format!("b {}\n", 5 + number));
        loki.has(number + 1).await;
    }
    assert_eq!(loki.has(5).await, numbered(0, 5));
    running
}

fn of_b(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| line.starts_with('b')).cloned().collect()
}

#[tokio::test]
async fn ships_the_others_and_the_refused_one_in_order_once_it_is_taken() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let mut running = refused(&place, &mut loki).await;
    let admin = running.admin().await;
    assert!(get(admin, "/metrics").await.1.contains("redis_log_shipper_streams_set_aside 1\n"));
    loki.refuse_stream(None);
    let lines = loki.has(15).await;
    assert_eq!(of_b(&lines), (0..10).map(|number| format!("b {number}")).collect::<Vec<_>>());
    running.says("Loki takes this stream again").await;
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn loses_no_line_of_the_refused_one_when_it_is_killed() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let mut running = refused(&place, &mut loki).await;
    running.signal("-KILL");
    running.ends().await;
    loki.refuse_stream(None);
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    let lines = of_b(&loki.has(15).await);
    assert_eq!(lines, (0..10).map(|number| format!("b {number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn exits_once_the_files_are_quiet_even_if_a_stream_is_refused() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let mut running = refused(&place, &mut loki).await;
    running.signal("-TERM");
    running.says("Loki accepts nothing").await;
    assert_eq!(running.ends().await.code(), Some(0));
}
