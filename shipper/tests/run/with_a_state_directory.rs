//! One state directory, and the positions in it.

use super::world::*;

#[tokio::test]
async fn lets_one_shipper_have_it_at_a_time() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let mut first = Running::start(&mut place.command(&loki.url));
    place.write(0, 3);
    loki.has(3).await;

    let mut second = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    let said = second.says("nothing is shipped yet").await;
    assert!(said.contains("in use by another shipper"), "{said}");
    let admin = second.admin().await;
    assert_eq!(get(admin, "/ready").await.0, 503);
    let reset = output(shipper().arg("positions").arg("--state-dir").arg(place.state()).arg("--reset=a.log")).await;
    assert_eq!(reset.status.code(), Some(1));

    first.ends_when_told_to().await;
    place.write(3, 6);
    assert_eq!(loki.has(6).await, numbered(0, 6));
    second.ends_when_told_to().await;
    assert_eq!(loki.has(6).await, numbered(0, 6));
}

#[tokio::test]
async fn shows_the_positions_and_forgets_the_one_it_is_told_to() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    let mut once = place.command(&loki.url);
    once.arg("--once");
    assert_eq!(output(&mut once).await.status.code(), Some(0));
    assert_eq!(output(&mut once).await.status.code(), Some(0));
    assert_eq!(loki.has(3).await, numbered(0, 3));

    let mut positions = shipper();
    positions.args(["positions".as_ref(), "--state-dir".as_ref(), place.state().as_os_str()]);
    let shown = output(&mut positions).await;
    assert_eq!(shown.status.code(), Some(0));
    let table = String::from_utf8(shown.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("a.log        21")), "{table}");

    let unknown = output(positions.arg("--reset=b.log")).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("a.log"));
    let mut reset = shipper();
    reset.args(["positions".as_ref(), "--state-dir".as_ref(), place.state().as_os_str(), "--reset=a.log".as_ref()]);
    assert_eq!(output(&mut reset).await.status.code(), Some(0));
    assert_eq!(output(&mut once).await.status.code(), Some(0));
    assert_eq!(loki.has(6).await.len(), 6);
}
