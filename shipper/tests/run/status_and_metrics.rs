//! `/status` and `/metrics`, while it ships and while it cannot ship.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use super::world::*;

/// The part of `/status` about the only file.
fn file(status: &Value) -> Value {
    assert_eq!(status["files"].as_array().unwrap().len(), 1, "{status}");
    status["files"][0].clone()
}

#[tokio::test]
async fn shows_the_state_of_each_file_while_a_push_fails_and_after() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((403, "You don't have permission to access this tenant")));
    place.write(0, 3);
    let inode = std::fs::metadata(place.logs().join("a.log")).unwrap().ino();
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    running.says("holding").await;
    let admin = running.admin().await;
    let status = running.status_when(|status| status["files"][0]["size"] == 21).await;
    let held = file(&status);
    let error = "forbidden: 403 Forbidden: You don't have permission to access this tenant";
    assert_eq!(status["ready"], true);
    assert_eq!((&status["trouble"]["file"], &status["trouble"]["reason"]), (&json!("a.log"), &json!("forbidden")));
    assert_eq!((&held["file"], &held["size"], &held["lag_bytes"]), (&json!("a.log"), &json!(21), &json!(21)));
    assert_eq!((&held["position"], &held["generation"], &held["generations"]), (&json!(0), &json!(inode), &json!(1)));
    assert!(held["oldest_unacknowledged_seconds"].is_u64(), "{held}");
    assert_eq!((&held["error"], &held["last_error"]["what"]), (&json!(error), &json!(error)));
    // The gateway would ask for a token, and this shipper sends none.
    let finding = &status["findings"][0];
    assert_eq!((&finding["code"], &finding["severity"]), (&json!("RLS306"), &json!("error")), "{status}");
    for field in ["code", "problem", "fix", "docs"] {
        assert_eq!(finding[field], status["trouble"][field], "{field}");
    }
    assert!(finding["docs"].as_str().unwrap().ends_with("/docs/troubleshooting.md#rls306"), "{finding}");
    let metrics = get(admin, "/metrics").await.1;
    assert!(metrics.contains("redis_log_shipper_finding{code=\"RLS306\",severity=\"error\"} 1\n"), "{metrics}");
    for metric in ["size_bytes{file=\"a.log\"} 21", "lag_bytes{file=\"a.log\"} 21", "error{file=\"a.log\"} 1"] {
        assert!(metrics.contains(&format!("redis_log_shipper_file_{metric}\n")), "{metric} missing in {metrics}");
    }

    loki.refuse(None);
    assert_eq!(loki.has(3).await, numbered(0, 3));
    let status = running.status_when(|status| status["files"][0]["lag_bytes"] == 0).await;
    let shipped = file(&status);
    assert_eq!((&status["trouble"], &status["entries_pushed"]), (&Value::Null, &json!(3)));
    assert_eq!(status["findings"], json!([]));
    assert!(!get(admin, "/metrics").await.1.contains("redis_log_shipper_finding{"));
    assert_eq!((&shipped["position"], &shipped["generation"]), (&json!(21), &json!(inode)));
    assert_eq!((&shipped["error"], &shipped["oldest_unacknowledged_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!(shipped["last_error"]["what"], error);
    assert!(get(admin, "/metrics").await.1.contains("redis_log_shipper_file_position_bytes{file=\"a.log\"} 21\n"));
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn shows_a_new_file_before_anything_of_it_is_pushed() {
    let (place, loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((503, "")));
    let mut running = Running::start(place.command(&loki.url).args(["--listen=127.0.0.1:0", "--drain-timeout=100ms"]));
    running.says("\"shipping\"").await;
    place.write(0, 3);
    let status = running.status_when(|status| status["trouble"]["reason"] == "unavailable").await;
    assert_eq!(status["trouble"]["file"], "a.log");
    let inode = std::fs::metadata(place.logs().join("a.log")).unwrap().ino();
    let waits = file(&running.status_when(|status| status["files"][0]["lag_bytes"] == 21).await);
    assert_eq!((&waits["generation"], &waits["position"]), (&json!(inode), &json!(0)), "{waits}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn shows_after_a_restart_how_far_a_file_was_acknowledged() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    assert_eq!(output(place.command(&loki.url).arg("--once")).await.status.code(), Some(0));
    loki.has(3).await;
    let inode = std::fs::metadata(place.logs().join("a.log")).unwrap().ino();
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    let rests = file(&running.status_when(|status| status["files"][0]["size"] == 21).await);
    assert_eq!((&rests["position"], &rests["generation"], &rests["lag_bytes"]), (&json!(21), &json!(inode), &json!(0)));
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn shows_which_generation_is_shipped_while_younger_ones_wait() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((503, "")));
    place.write(0, 3);
    let inode = |name: &str| std::fs::metadata(place.logs().join(name)).unwrap().ino();
    let first = inode("a.log");
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    loki.is_asked(1).await;
    std::fs::rename(place.logs().join("a.log"), place.logs().join("a.log.1")).unwrap();
    place.write(3, 6);
    let waits = file(&running.status_when(|status| status["files"][0]["generations"] == 2).await);
    assert_eq!((&waits["generation"], &waits["position"], &waits["lag_bytes"]), (&json!(first), &json!(0), &json!(42)));
    loki.refuse(None);
    assert_eq!(loki.has(6).await, numbered(0, 6));
    let second = json!(inode("a.log"));
    let is_live = |file: &Value| file["generation"] == second && file["generations"] == 1;
    let live = file(&running.status_when(|status| is_live(&status["files"][0])).await);
    assert_eq!(live["position"], 21, "{live}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn prints_at_the_start_how_much_memory_its_buffers_take() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let mut running = Running::start(&mut place.command(&loki.url));
    let line: Value = serde_json::from_str(&running.says("\"shipping\"").await).unwrap();
    assert_eq!(line["buffers"], "6.8 MiB", "{line}");
    running.ends_when_told_to().await;
    let mut running = Running::start(place.command(&loki.url).arg("--batch-bytes=4MiB"));
    let line: Value = serde_json::from_str(&running.says("\"shipping\"").await).unwrap();
    assert_eq!(line["buffers"], "23.8 MiB", "{line}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn shows_no_secret_in_the_sample_of_a_rejected_entry() {
    let (place, loki) = (Place::new(), Loki::start().await);
    loki.refuse(Some((400, "entry for stream '{job=\"x\"}' has timestamp too old: 2020-01-01T00:00:00Z")));
    append(&place.logs().join("a.log"), "command: cluster join username demo password hunter2 nodes\n");
    let mut running = Running::start(place.command(&loki.url).arg("--listen=127.0.0.1:0"));
    let sample = running.says("; the entry of").await;
    assert!(sample.contains("password [redacted:1-7] nodes") && !sample.contains("hunter2"), "{sample}");
    let status = running.status_when(|status| status["files"][0]["last_error"].is_object()).await.to_string();
    assert!(status.contains("entries rejected for good") && !status.contains("hunter2"), "{status}");
    let metrics = get(running.admin().await, "/metrics").await.1;
    assert!(metrics.contains("redis_log_shipper_redactions_total{rule=\"password\"} 1\n"), "{metrics}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn says_which_rules_drop_entries_and_counts_by_rule() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    place.write(0, 12);
    let mut command = place.command(&loki.url);
    command.env("REDIS_LOG_SHIPPER_DROP", "level=debug\n\na:pattern=line [1-9]$\n").arg("--listen=127.0.0.1:0");
    let mut running = Running::start(&mut command);
    for rule in ["\"level=debug\"", "\"a:pattern=line [1-9]$\""] {
        let line = running.says(&format!("\"rule\":{rule}")).await;
        assert!(line.contains("INFO") && line.contains("dropped on purpose"), "{line}");
    }
    assert_eq!(loki.has(3).await, ["line 0", "line 10", "line 11"]);
    let status = running.status_when(|status| status["files"][0]["position"] == 86).await;
    assert_eq!(status["dropped"], json!({"level=debug": 0, "a:pattern=line [1-9]$": 9}), "{status}");
    let metrics = get(running.admin().await, "/metrics").await.1;
    assert!(metrics.contains("entries_dropped_total{rule=\"a:pattern=line [1-9]$\"} 9\n"), "{metrics}");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn finds_entries_that_are_too_old_to_be_pushed() {
    let (place, loki) = (Place::new(), Loki::start().await);
    append(&place.logs().join("a.log"), "2020-02-20 22:31:07,000 INFO x\n");
    let mut running = Running::start(place.command(&loki.url).args(["--listen=127.0.0.1:0", "--max-age=168h"]));
    assert!(running.says("skipping entries").await.contains("RLS404"));
    running.status_when(|status| status["findings"][0]["code"] == "RLS404").await;
    running.ends_when_told_to().await;
}
