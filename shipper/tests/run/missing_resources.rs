//! Directories, ports and descriptors that are missing, or appear later.

use std::process::Stdio;

use tokio::process::Command;

use super::world::*;

#[tokio::test]
async fn follows_as_many_files_as_there_are_descriptors_for_and_says_so() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    for number in 0..40 {
        append(&place.logs().join(format!("{number}.log")), &format!("line {number}\n"));
    }
    let command = place.command(&loki.url);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -n 84; exec \"$0\" \"$@\""]).arg(command.as_std().get_program());
    limited.args(command.as_std().get_args()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let mut running = Running::start(&mut limited);
    running.says("too many log files").await;
    loki.has(10).await;
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn waits_for_the_log_directory_and_ships_once_it_is_there() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    std::fs::remove_dir(place.logs()).unwrap();
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    let said = running.says("nothing is shipped yet").await;
    assert!(said.contains("log directory"), "{said}");
    let admin = running.admin().await;
    assert_eq!(get(admin, "/ready").await.0, 503);
    let (_, status) = get(admin, "/status").await;
    assert!(status.contains("failed to read the log directory") && status.contains("RLS502"), "{status}");
    assert!(said.contains("RLS502"), "{said}");

    std::fs::create_dir(place.logs()).unwrap();
    place.write(0, 3);
    assert_eq!(loki.has(3).await, numbered(0, 3));
    assert_eq!(get(admin, "/ready").await.0, 200);
    let (_, status) = get(admin, "/status").await;
    assert!(!status.contains("waits_for") && !status.contains("RLS502"), "{status}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn ends_on_sigterm_while_it_waits_and_fails_with_once() {
    let place = Place::new();
    std::fs::remove_dir(place.logs()).unwrap();
    let mut running = Running::start(&mut place.command("http://127.0.0.1:9/push"));
    running.says("nothing is shipped yet").await;
    running.ends_when_told_to().await;
    let output = output(place.command("http://127.0.0.1:9/push").arg("--once")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to read the log directory"));
}

#[tokio::test]
async fn ships_without_an_admin_port_that_is_taken() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    place.write(0, 3);
    let mut running = Running::start(place.command(&loki.url).arg(listen));
    running.says("no admin port").await;
    loki.has(3).await;
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn ships_without_a_writable_state_directory() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    // Not even root can create a directory below a file.
    append(&place.state(), "a file");
    place.write(0, 3);
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    running.says("positions could not be saved").await;
    let admin = running.admin().await;
    loki.has(3).await;
    let (_, metrics) = get(admin, "/metrics").await;
    let errors = metrics.lines().find_map(|line| line.strip_prefix("redis_log_shipper_position_errors_total "));
    assert!(errors.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
    assert!(metrics.contains("redis_log_shipper_finding{code=\"RLS503\",severity=\"warning\"} 1\n"), "{metrics}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn ships_even_if_nobody_reads_its_log() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = place.command(&loki.url).stderr(full).spawn().unwrap();
    assert_eq!(loki.has(3).await, numbered(0, 3));
    terminate(&child);
    assert_eq!(tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn ships_once_its_token_and_its_ca_file_exist() {
    let (place, mut loki) = (Place::new(), Loki::start_with_tls().await);
    place.write(0, 3);
    let (token, ca) = (place.file("token"), place.file("ca.crt"));
    let mut command = place.command(&loki.url);
    command.arg("--listen=127.0.0.1:0").arg(format!("--token-file={token}")).arg(format!("--ca-file={ca}"));
    let mut running = Running::start(&mut command);
    assert!(running.says("holding").await.contains("failed to read the token file"));
    running.says("no CA to trust").await;
    std::fs::write(&token, "two\nlines").unwrap();
    running.status_when(|status| status["trouble"]["answer"].as_str().unwrap().contains("invalid token")).await;
    std::fs::write(&token, "token").unwrap();
    running.status_when(|status| status["trouble"]["reason"] == "no_answer").await;
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    running.says("failed to use a CA file").await;
    std::fs::write(&ca, loki.ca()).unwrap();
    assert_eq!(loki.has(3).await, numbered(0, 3));
    assert_eq!(loki.tokens().last().map(String::as_str), Some("Bearer token"));
    running.ends_when_told_to().await;
}
