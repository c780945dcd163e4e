//! An image that cannot be pulled.

use serde_json::json;

use crate::redis::{Redis, annotate, container};
use crate::world::shared;

/// Nothing listens there.
const IMAGE: &str = "10.99.0.1:1/redis-log-shipper:none";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_runs_although_the_image_of_its_sidecar_cannot_be_pulled() {
    let Some(world) = shared().await else { return };
    let redis = Redis::new(&world, "unpullable");
    redis.create(&json!({}), |set| annotate(set, "image", IMAGE)).await.unwrap();
    let pulls = redis.pod("the kubelet fails to pull, and Redis's container is ready", |pod| {
        let reason = container(pod, "log-shipper").map(|status| &status["state"]["waiting"]["reason"]);
        let is_ready = container(pod, "redis-enterprise-node").is_some_and(|status| status["ready"] == true);
        reason.is_some_and(|reason| reason == "ErrImagePull" || reason == "ImagePullBackOff") && is_ready
    });
    pulls.await.unwrap();
    assert_eq!(redis.exec(&["redis-cli", "-p", "12000", "ping"]).unwrap().trim(), "PONG");
    redis.remove();
}
