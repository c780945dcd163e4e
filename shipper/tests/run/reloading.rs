//! The runtime configuration: what changes without a restart, and what an invalid one changes.

use serde_json::{Value, json};

use super::world::*;

/// A shipper that follows `shipper.yaml`, and a Loki.
async fn start(place: &Place) -> (Running, Loki) {
    let loki = Loki::start().await;
    let mut command = place.command(&loki.url);
    command.env("REDIS_LOG_SHIPPER_RUNTIME_CONFIG", place.file("shipper.yaml")).arg("--listen=127.0.0.1:0");
    (Running::start(&mut command), loki)
}

/// Replaces the file as the kubelet does, through a link, and says so.
fn configure(place: &Place, running: &Running, number: usize, text: &str) {
    std::fs::write(place.file(&format!("data{number}")), text).unwrap();
    std::os::unix::fs::symlink(format!("data{number}"), place.file("link")).unwrap();
    std::fs::rename(place.file("link"), place.file("shipper.yaml")).unwrap();
    running.signal("-HUP");
}

fn state(status: &Value) -> &Value {
    &status["runtime_config"]["state"]
}

#[tokio::test]
async fn follows_other_files_and_drops_other_entries_without_a_restart() {
    let place = Place::new();
    place.write(0, 2);
    let (mut running, mut loki) = start(&place).await;
    loki.has(2).await;
    running.status_when(|status| state(status) == "absent").await;

    configure(&place, &running, 1, "exclude: [a.log]\ndrop: ['pattern=noise']\n");
    let line = running.says("the runtime configuration is in use").await;
    assert!(line.contains("exclude") && line.contains("drop") && !line.contains("include"), "{line}");
    running.says("\"rule\":\"pattern=noise\"").await;
    running.status_when(|status| state(status) == "in_use" && status["files"].as_array().unwrap().is_empty()).await;
    place.write(2, 4);
    append(&place.logs().join("b.log"), "noise\nb\n");
    assert_eq!(loki.has(3).await, ["line 0", "line 1", "b"]);

    // Without the file, the flags apply. The excluded file goes on at its position.
    std::fs::remove_file(place.file("shipper.yaml")).unwrap();
    running.signal("-HUP");
    running.says("the runtime configuration is gone").await;
    assert_eq!(loki.has(5).await[3..], numbered(2, 4));
    append(&place.logs().join("b.log"), "noise\n");
    assert_eq!(loki.has(6).await[5], "noise");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn keeps_the_last_valid_one_and_says_what_is_wrong_with_another() {
    let place = Place::new();
    let (mut running, mut loki) = start(&place).await;
    running.says("\"shipping\"").await;
    configure(&place, &running, 1, "drop: ['pattern=noise']\nredactPatterns: ['card=card ([0-9]+)']\n");
    running.says("the runtime configuration is in use").await;
    configure(&place, &running, 2, "drop: [loud]\nlokiUrl: https://evil/push\nredact: off\n");
    let line: Value = serde_json::from_str(&running.says("the runtime configuration is invalid").await).unwrap();
    assert_eq!((&line["level"], &line["code"]), (&json!("ERROR"), &json!("RLS509")), "{line}");
    let status = running.status_when(|status| state(status) == "invalid").await;
    assert_eq!(status["findings"][0]["code"], "RLS509", "{status}");
    let faults = status["runtime_config"]["faults"].as_array().unwrap();
    assert!(
        faults.len() == 2 && faults[0].as_str().unwrap().starts_with("line 1: drop: invalid drop rule"),
        "{status}"
    );
    assert!(faults[1].as_str().unwrap().starts_with("line 2: lokiUrl: cannot change while"), "{status}");
    let metrics = get(running.admin().await, "/metrics").await.1;
    assert!(metrics.contains("redis_log_shipper_runtime_config_good 0\n"), "{metrics}");
    append(&place.logs().join("a.log"), "noise\npassword=hunter2 card 1234\n");
    assert_eq!(loki.has(1).await, ["password=[redacted:1-7] card [redacted:1-7]"]);

    configure(&place, &running, 3, "redact: off\n");
    running.status_when(|status| state(status) == "in_use").await;
    append(&place.logs().join("a.log"), "password=hunter3\n");
    assert_eq!(loki.has(2).await[1], "password=hunter3");
    let metrics = get(running.admin().await, "/metrics").await.1;
    assert!(metrics.contains("redis_log_shipper_runtime_config_good 1\n"), "{metrics}");
    assert!(metrics.contains("runtime_config_reloads_total{result=\"invalid\"} 1\n"), "{metrics}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn finds_a_new_content_by_itself_and_uses_it_from_the_start_after_a_restart() {
    let place = Place::new();
    let (mut running, mut loki) = start(&place).await;
    running.says("\"shipping\"").await;
    // Nobody sends a signal.
    std::fs::write(place.file("shipper.yaml"), r#"{"drop": ["pattern=noise"], "logLevel": "warn"}"#).unwrap();
    running.status_when(|status| state(status) == "in_use").await;
    append(&place.logs().join("a.log"), "noise\na\n");
    assert_eq!(loki.has(1).await, ["a"]);
    running.ends_when_told_to().await;
    append(&place.logs().join("a.log"), "noise\nb\n");
    let mut once = place.command(&loki.url);
    once.arg("--once").arg(format!("--runtime-config={}", place.file("shipper.yaml")));
    let output = output(&mut once).await;
    assert_eq!(loki.has(2).await, ["a", "b"]);
    // It says nothing below a warning.
    assert!(!String::from_utf8(output.stderr).unwrap().contains("\"shipping\""));
}

#[tokio::test]
async fn changes_its_log_level_and_goes_on_after_a_signal_without_a_file() {
    let place = Place::new();
    let (mut running, mut loki) = start(&place).await;
    running.says("\"shipping\"").await;
    running.signal("-HUP");
    running.says("the runtime configuration has nothing new").await;
    configure(&place, &running, 1, "logLevel: error\n");
    running.status_when(|status| state(status) == "in_use").await;
    place.write(0, 3);
    loki.has(3).await;
    // The end is said at the level of info.
    running.ends_when_told_to().await;
    assert!(!running.said_all().await.contains("shutting down"));
}
