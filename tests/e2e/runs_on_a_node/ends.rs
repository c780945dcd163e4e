//! A pod is deleted: the sidecar ends after Redis and ships the lines of the shutdown, at once or after an outage of the store.

use std::time::{Duration, Instant};

use harness::say;
use serde_json::Value;

use super::receiver::Way;
use super::redis::{Redis, annotate, container, uid};
use super::world::{World, shared};

/// Scales to zero and returns how long the pod took to end.
fn end(redis: &Redis<'_>) -> Duration {
    let start = Instant::now();
    redis.scale(0);
    redis.kubectl(&["wait", "--for=delete", "pod/rec-0", "--timeout=120s"]);
    start.elapsed()
}

async fn ends_with_every_line(world: &World, mode: &str) {
    let redis = Redis::start(world, &format!("ends-{mode}"), |set| annotate(set, "sidecar-mode", mode)).await.unwrap();
    let before = redis.ready("").await.unwrap();
    let statuses = if mode == "native" { "initContainerStatuses" } else { "containerStatuses" };
    assert!(
        before["status"][statuses].as_array().unwrap().iter().any(|status| status["name"] == "log-shipper"),
        "{mode}"
    );
    assert!(container(&before, "log-shipper").is_some());
    redis.exec(&["write-lines", "1000"]).unwrap();
    let took = end(&redis);
    say(&format!("{mode}: the pod is gone {:.1} s after its deletion, with the receiver there", took.as_secs_f64()));
    let last = redis.written("dmcproxy").unwrap().pop().unwrap();
    assert!(last.starts_with("100) "), "the workload writes a hundred lines after Redis has ended: {last}");
    // There is no later pod that could ship them.
    for stem in ["dmcproxy", "redis-1", "prestop_exec_action"] {
        redis.all_shown(&world.receiver, stem).await.unwrap();
    }
    redis.remove();
}

async fn ends_without_a_receiver(world: &World, mode: &str) {
    let mut way = Way::new().unwrap();
    way.open(&world.receiver).await.unwrap();
    let (url, namespace) = (way.push_url(&world.receiver), format!("alone-{mode}"));
    let change = |set: &mut Value| {
        annotate(set, "sidecar-mode", mode);
        annotate(set, "loki-url", &url);
    };
    let redis = Redis::start(world, &namespace, change).await.unwrap();
    let before = redis.ready("").await.unwrap();
    redis.exec(&["write-lines", "1000"]).unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    way.close().await;
    redis.exec(&["write-lines", "1000"]).unwrap();
    let took = end(&redis);
    say(&format!("{mode}: the pod is gone {:.1} s after its deletion, without a receiver", took.as_secs_f64()));
    redis.scale(1);
    redis.ready(uid(&before)).await.unwrap();
    redis.exec(&["write-lines", "1000"]).unwrap();
    way.open(&world.receiver).await.unwrap();
    for stem in ["dmcproxy", "redis-1", "prestop_exec_action"] {
        redis.all_shown(&world.receiver, stem).await.unwrap();
    }
    redis.remove();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_the_lines_of_the_shutdown_before_the_pod_is_gone() {
    let Some(world) = shared().await else { return };
    ends_with_every_line(&world, "container").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_the_lines_of_the_shutdown_before_the_pod_is_gone_as_a_native_sidecar() {
    let Some(world) = shared().await else { return };
    ends_with_every_line(&world, "native").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_what_was_written_while_the_receiver_was_away_from_the_pod_that_comes_next() {
    let Some(world) = shared().await else { return };
    ends_without_a_receiver(&world, "container").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_what_was_written_while_the_receiver_was_away_as_a_native_sidecar() {
    let Some(world) = shared().await else { return };
    ends_without_a_receiver(&world, "native").await;
}
