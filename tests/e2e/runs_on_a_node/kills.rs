//! The sidecar, Redis or the pod is killed. Afterwards every line is shown once.

use std::time::Duration;

use harness::process::eventually;
use serde_json::Value;

use super::process;
use super::redis::{Redis, container, uid};
use super::world::shared;

const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const LINES: &str = "2000";

/// Waits until the pod is Ready and its container `name` has restarted more than `times` times.
pub(crate) async fn restarted(redis: &Redis<'_>, name: &str, times: i64) -> Value {
    eventually("the container runs again", PATIENCE, || async {
        let pod = redis.ready("").await?;
        let status = container(&pod, name).unwrap();
        let is_back = status["restartCount"].as_i64() > Some(times) && status["state"]["running"].is_object();
        Ok(is_back.then_some(pod.clone()))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_and_doubles_nothing_when_the_sidecar_or_redis_is_killed() {
    let Some(world) = shared().await else { return };
    let redis = Redis::start(&world, "killed", |_| {}).await.unwrap();
    let before = redis.ready("").await.unwrap();
    for name in ["log-shipper", "redis-enterprise-node"] {
        redis.exec(&["write-lines", LINES]).unwrap();
        let pod = redis.ready("").await.unwrap();
        let restarts = container(&pod, name).unwrap()["restartCount"].as_i64().unwrap();
        process::signal(process::of(&pod, name).unwrap(), "KILL").unwrap();
        let pod = restarted(&redis, name, restarts).await;
        assert_eq!(uid(&pod), uid(&before), "the pod stays");
        redis.exec(&["write-lines", LINES]).unwrap();
        redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    }
    redis.all_shown(&world.receiver, "redis-1").await.unwrap();
    redis.remove();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_and_doubles_nothing_when_the_pod_is_deleted_by_force() {
    let Some(world) = shared().await else { return };
    let redis = Redis::start(&world, "forced", |_| {}).await.unwrap();
    let before = redis.ready("").await.unwrap();
    redis.exec(&["write-lines", LINES]).unwrap();
    redis.delete_pod(&["--force", "--grace-period=0"]).unwrap();
    redis.ready(uid(&before)).await.unwrap();
    redis.exec(&["write-lines", LINES]).unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    redis.remove();
}
