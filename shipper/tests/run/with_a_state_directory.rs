//! The state directory and the positions in it.

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
async fn shows_the_positions_and_resets_one() {
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

#[tokio::test]
async fn keeps_positions_in_the_fallback_directory_until_the_state_directory_is_writable() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let fallback = place.file("fallback");
    let ship_once = async |with_fallback: bool| {
        let mut once = place.command(&loki.url);
        once.arg("--once");
        if with_fallback {
            once.arg(format!("--state-fallback-dir={fallback}"));
        }
        assert_eq!(output(&mut once).await.status.code(), Some(0));
    };
    // Not even root can create a directory below a file.
    append(&place.state(), "a file");
    place.write(0, 3);
    let mut command = place.command(&loki.url);
    let mut running =
        Running::start(command.arg(format!("--state-fallback-dir={fallback}")).arg("--listen=127.0.0.1:0"));
    let said = running.says("the state directory cannot be written").await;
    assert!(said.contains("fsGroup") && said.contains("state: ephemeral"), "{said}");
    let admin = running.admin().await;
    let (_, metrics) = get(admin, "/metrics").await;
    assert!(metrics.contains("redis_log_shipper_state_fallback 1"), "{metrics}");
    running.ends_when_told_to().await;

    place.write(3, 6);
    ship_once(true).await;
    std::fs::remove_file(place.state()).unwrap();
    place.write(6, 9);
    ship_once(true).await;
    assert!(!std::fs::exists(format!("{fallback}/positions.json")).unwrap());
    place.write(9, 12);
    ship_once(false).await;
    assert_eq!(loki.has(12).await, numbered(0, 12));
}

#[tokio::test]
async fn ships_whatever_is_in_its_state_directory() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    std::fs::create_dir(place.state()).unwrap();
    let fifo = |name: &str| {
        let (path, mode) = (place.state().join(name), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    fifo("lock");
    fifo("positions.journal");
    fifo("positions.json.old");
    std::os::unix::fs::symlink("/dev/zero", place.state().join("positions.json")).unwrap();
    std::os::unix::fs::symlink(place.file("precious"), place.state().join("positions.json.new")).unwrap();
    std::fs::write(place.file("precious"), "precious").unwrap();
    place.write(0, 3);
    let mut running = Running::start(&mut place.command(&loki.url));
    let said = running.says("positions are damaged").await;
    assert!(said.contains("not a regular file; remove it"), "{said}");
    loki.has(3).await;
    running.ends_when_told_to().await;
    place.write(3, 6);
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    assert_eq!(loki.has(6).await, numbered(0, 6));
    assert_eq!(std::fs::read_to_string(place.file("precious")).unwrap(), "precious");
}
