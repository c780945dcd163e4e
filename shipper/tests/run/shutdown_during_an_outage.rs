//! SIGTERM while Loki does not answer.

use super::world::*;

/// A shipper with unread lines and a Loki that accepts connections and never answers.
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
async fn exits_after_the_drain_timeout_and_ships_the_rest_next_time() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let (mut running, _silent) = stuck(&place, "100ms").await;
    running.signal("-TERM");
    running.says("the drain timeout is over").await;
    assert_eq!(running.ends().await.code(), Some(0));
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    assert_eq!(loki.has(3).await, numbered(0, 3));
}

#[tokio::test]
async fn exits_once_the_files_are_quiet_if_its_positions_are_kept_and_ships_the_rest_next_time() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((503, "down")));
    place.write(0, 3);
    let mut running = Running::start(place.command(&loki.url).arg("--drain-timeout=1h"));
    running.says("push failed, retrying").await;
    running.signal("-TERM");
    running.says("Loki accepts nothing, and Redis has ended").await;
    assert_eq!(running.ends().await.code(), Some(0));
    loki.refuse(None);
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    assert_eq!(loki.has(3).await, numbered(0, 3));
}

#[tokio::test]
async fn exits_if_loki_never_answers_and_its_positions_are_kept() {
    let place = Place::new();
    let (mut running, _silent) = stuck(&place, "1h").await;
    running.signal("-TERM");
    running.says("Loki accepts nothing, and Redis has ended").await;
    assert_eq!(running.ends().await.code(), Some(0));
}

#[tokio::test]
async fn waits_for_loki_until_the_drain_timeout_if_its_positions_are_lost() {
    let (place, loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((503, "down")));
    let logs = tempfile::tempdir_in("/dev/shm").unwrap();
    append(&logs.path().join("a.log"), "line 0\n");
    let mut command = shipper();
    command.arg("run").arg(format!("--loki-url={}", loki.url)).arg("--drain-timeout=4s");
    command.args(["--log-dir".as_ref(), logs.path().as_os_str(), "--state-dir".as_ref(), place.state().as_os_str()]);
    let mut running = Running::start(&mut command);
    running.says("push failed, retrying").await;
    running.signal("-TERM");
    running.says("the drain timeout is over").await;
    assert_eq!(running.ends().await.code(), Some(0));
}

#[tokio::test]
async fn ships_the_lines_that_are_written_while_the_writer_ends() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    let mut running = Running::start(&mut place.command(&loki.url));
    loki.has(3).await;
    running.signal("-TERM");
    running.says("shutting down").await;
    place.write(3, 6);
    loki.has(6).await;
    place.write(6, 9);
    assert_eq!(running.ends().await.code(), Some(0));
    assert_eq!(loki.has(9).await, numbered(0, 9));
}

#[tokio::test]
async fn exits_at_once_on_a_second_signal() {
    let place = Place::new();
    let (mut running, _silent) = stuck(&place, "1h").await;
    running.signal("-TERM");
    running.says("shutting down").await;
    running.signal("-TERM");
    assert_eq!(running.ends().await.code(), Some(130));
}

/// A shipper whose only thread is blocked forever: its CA file is a pipe without a writer.
async fn frozen(place: &Place, loki: &Loki, drain: &str) -> Running {
    place.write(0, 3);
    let ca = place.file("ca.crt");
    assert!(std::process::Command::new("mkfifo").arg(&ca).status().unwrap().success());
    let mut command = place.command(&loki.url);
    command.arg(format!("--ca-file={ca}"));
    let mut running = Running::start(command.arg(format!("--drain-timeout={drain}")));
    running.says("\"shipping\"").await;
    running
}

#[tokio::test]
async fn exits_after_the_drain_timeout_even_if_it_is_stuck() {
    let (place, loki) = (Place::new(), Loki::start_with_tls().await);
    let mut running = frozen(&place, &loki, "100ms").await;
    running.signal("-TERM");
    running.says("shutdown timed out").await;
    assert_eq!(running.ends().await.code(), Some(1));
}

#[tokio::test]
async fn exits_at_once_on_a_second_signal_even_if_it_is_stuck() {
    let (place, loki) = (Place::new(), Loki::start_with_tls().await);
    let mut running = frozen(&place, &loki, "1h").await;
    running.signal("-TERM");
    running.says("shutting down").await;
    running.signal("-TERM");
    assert_eq!(running.ends().await.code(), Some(130));
}

/// A disk that blocks all writes while a file exists.
const DISK: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static void wait_for_disk(void) { while (access(getenv("DISK_IS_STUCK"), F_OK) == 0) usleep(10000); }
int fsync(int file) { wait_for_disk(); return syscall(SYS_fsync, file); }
int fdatasync(int file) { wait_for_disk(); return syscall(SYS_fdatasync, file); }
"#;

/// Makes a shipper save its positions on that disk. Rust's linker needs a C compiler, so there is one.
fn on_that_disk(command: &mut tokio::process::Command, place: &Place) {
    let (source, library) = (place.file("disk.c"), place.file("disk.so"));
    std::fs::write(&source, DISK).unwrap();
    let mut cc = std::process::Command::new("cc");
    assert!(cc.args(["-shared", "-fPIC", "-o", &library, &source]).status().unwrap().success());
    command.env("LD_PRELOAD", library).env("DISK_IS_STUCK", place.file("stuck"));
}

fn stop_the_disk(place: &Place) {
    std::fs::write(place.file("stuck"), "").unwrap();
}

#[tokio::test]
async fn exits_even_if_the_disk_never_answers() {
    let (place, loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    stop_the_disk(&place);
    let mut command = place.command(&loki.url);
    on_that_disk(&mut command, &place);
    let mut running = Running::start(command.arg("--drain-timeout=100ms"));
    running.says("starting").await;
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn exits_in_time_even_if_the_disk_stops_answering() {
    // The positions of three lines are not saved yet, and more lines may be pushed only after that.
    for more in [3, 6] {
        let (place, mut loki) = (Place::new(), Loki::start().await);
        place.write(0, 3);
        let mut command = place.command(&loki.url);
        on_that_disk(&mut command, &place);
        let mut running = Running::start(command.arg("--drain-timeout=100ms"));
        loki.has(3).await;
        stop_the_disk(&place);
        place.write(3, more);
        running.ends_when_told_to().await;
        assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
        let lines: std::collections::BTreeSet<_> = loki.has(more).await.into_iter().collect();
        assert_eq!(lines.len(), more);
    }
}
