//! `check`, beside a running shipper and alone.

use serde_json::Value;
use tokio::process::Command;

use super::world::*;

/// The results of a group, by check.
fn group<'a>(report: &'a Value, name: &str) -> &'a Vec<Value> {
    let group = report["groups"].as_array().unwrap().iter().find(|group| group["name"] == name).unwrap();
    group["checks"].as_array().unwrap()
}

async fn report(command: &mut Command) -> (Value, Option<i32>) {
    let output = output(command).await;
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (report, output.status.code())
}

/// A copy of the program. No other process runs this file, so `check` finds the shipper of this test only.
fn program(place: &Place) -> String {
    let copy = place.file("redis-log-shipper");
    // Another process writes it: a child that a parallel test starts would keep our own descriptor open, and the file busy.
    let copied = std::process::Command::new("cp").args([env!("CARGO_BIN_EXE_redis-log-shipper"), &copy]).status();
    assert!(copied.unwrap().success());
    copy
}

#[tokio::test]
async fn takes_the_arguments_of_the_shipper_that_runs_in_the_same_container_and_repeats_what_it_says() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let program = program(&place);
    place.write(0, 3);
    loki.refuse(Some((403, "")));
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut shipping = Command::new(&program);
    shipping.args(["run", "--loki-url", &loki.url, "--batch-wait=10ms", "--state-dir", &place.file("state")]);
    shipping.args([format!("--log-dir={}", place.file("logs")), format!("--listen={listen}")]);
    let mut running = Running::start(shipping.kill_on_drop(true));
    running.says("holding").await;

    let (report, code) = report(Command::new(&program).args(["check", "-o", "json"])).await;
    assert_eq!(code, Some(1));
    let settings = group(&report, "settings")[0]["detail"].as_str().unwrap();
    assert!(settings.contains("from the running shipper (process "), "{settings}");
    assert_eq!(group(&report, "log files")[0]["detail"], "1 log files and 0 rotated files");
    let positions = &group(&report, "state directory")[1];
    assert!(positions["detail"].as_str().unwrap().contains("writes them"), "{positions}");
    let codes: Vec<_> = [group(&report, "push"), group(&report, "running shipper")]
        .into_iter()
        .flatten()
        .filter_map(|check| check["code"].as_str())
        .collect();
    assert_eq!(codes.len(), 2, "{report:#}");
    assert_eq!(codes[0], codes[1], "the shipper and `check` name the same finding");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn checks_the_files_that_the_runtime_configuration_selects() {
    let (place, loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    std::fs::write(place.file("logs/other.log"), "one line\n").unwrap();
    std::fs::write(place.file("shipper.yaml"), "exclude: ['other*']\n").unwrap();
    let mut command = shipper();
    command.args(["check", "-o", "json", "--loki-url", &loki.url, "--log-dir", &place.file("logs")]);
    command.args(["--runtime-config", &place.file("shipper.yaml")]);
    let (report, _) = report(&mut command).await;
    assert_eq!(group(&report, "log files")[0]["detail"], "1 log files and 0 rotated files");
}

#[tokio::test]
async fn fails_from_the_threshold_on_and_writes_nothing() {
    let (place, loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    let check = |flags: &[&str]| {
        let mut command = shipper();
        command.args(["check", "--loki-url", &loki.url, "--log-dir", &place.file("logs")]);
        // Not even root can write here: a warning.
        command.args(["--state-dir=/proc/sys"]).args(flags);
        command
    };
    for (threshold, code) in [("error", 0), ("warning", 1), ("info", 1)] {
        let output = output(&mut check(&["--failure-threshold", threshold])).await;
        assert_eq!(output.status.code(), Some(code), "{threshold}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("RLS503") && !text.contains('\u{1b}'), "{text}");
    }
    assert!(!place.state().exists());
    assert_eq!(std::fs::read_dir(place.logs()).unwrap().count(), 1);
}
