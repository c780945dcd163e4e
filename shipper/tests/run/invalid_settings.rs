//! Invalid settings.

use serde_json::Value;

use super::world::*;

#[tokio::test]
async fn stays_up_not_ready_and_says_what_is_wrong() {
    let place = Place::new();
    let mut command = place.command("loki:3100");
    command.env("REDIS_LOG_SHIPPER_MAX_AGE", "old").args(["--once=perhaps", "--listen=127.0.0.1:0"]);
    let mut running = Running::start(&mut command);
    let said = running.says("the settings cannot be used").await;
    let admin = running.admin().await;
    let (status, body) = get(admin, "/status").await;
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown["ready"], false);
    let faults = shown["faults"].clone();
    assert_eq!((status, faults.as_array().unwrap().len()), (200, 3), "{body}");
    for flag in ["--loki-url", "--max-age", "--once"] {
        assert!(said.contains(flag) && body.contains(flag), "{flag} missing in {said} or {body}");
    }
    assert_eq!((get(admin, "/live").await.0, get(admin, "/ready").await.0), (200, 503));
    let metrics = get(admin, "/metrics").await.1;
    assert!(metrics.contains("redis_log_shipper_unusable_settings 3"), "{metrics}");
    assert!(metrics.contains("redis_log_shipper_finding{code=\"RLS506\",severity=\"error\"} 1\n"), "{metrics}");
    assert_eq!(shown["findings"][0]["code"], "RLS506");
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn stays_up_if_the_admin_address_is_invalid() {
    let place = Place::new();
    let mut command = place.command("http://127.0.0.1:9/push");
    let mut running = Running::start(command.env("REDIS_LOG_SHIPPER_LISTEN", "x"));
    assert!(running.says("the settings cannot be used").await.contains("--listen"));
    running.ends_when_told_to().await;
}

#[tokio::test]
async fn fails_at_once_with_once() {
    let place = Place::new();
    let output = output(place.command("loki:3100").args(["--once", "--max-age=old"])).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--loki-url") && said.contains("--max-age"), "{said}");
}

#[tokio::test]
async fn refuses_an_unknown_flag() {
    let place = Place::new();
    let output = output(place.command("http://127.0.0.1:9/push").arg("--max-ages=1h")).await;
    assert_eq!(output.status.code(), Some(2));
}
