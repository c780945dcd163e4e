//! The sidecar's image cannot be pulled: Redis runs, and the namespace's next pods get no sidecar.

use std::time::Duration;

use harness::pod_fixture;
use harness::process::eventually;
use harness::say;
use serde_json::json;

use super::redis::{Redis, annotate, container, uid};
use super::world::{World, alone, is_slow_wanted, shared};

/// A changed ConfigMap reaches the webhook within seconds; the fuse waits for half a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// An address where nothing listens.
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

/// Appends these lines to the configuration, applies it, and waits until pods get an image that `is_wanted` accepts.
async fn configure(world: &World, lines: &str, is_wanted: impl Fn(&str) -> bool) {
    let file = world.checkout.join("manifests/overlays/plain/config.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}{lines}")).unwrap();
    let applied = world.node.kubectl_in(&world.checkout, &["apply", "-k", "manifests/overlays/plain"]);
    std::fs::write(&file, before).unwrap();
    applied.unwrap();
    let (cluster, pod) = (world.node.cluster().await.unwrap(), pod_fixture("a-vanilla").unwrap());
    eventually("every replica has the configuration", PATIENCE, || async {
        // Two replicas answer in turn.
        for _ in 0..6 {
            let pod = cluster.create_pod("configured", &pod, true).await?;
            let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
            let sidecar = containers.iter().find(|container| container["name"] == "log-shipper");
            if !sidecar.and_then(|sidecar| sidecar["image"].as_str()).is_some_and(&is_wanted) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fuse_leaves_new_pods_alone_until_the_configured_image_is_another() {
    if !is_slow_wanted("fuse") {
        return;
    }
    let Some(world) = alone().await else { return };
    let cluster = world.node.cluster().await.unwrap();
    let opted_in = json!({"redis-log-shipper.io/inject": "enabled"});
    cluster.create_namespace("configured", &opted_in, &["rec"]).await.unwrap();
    configure(&world, &format!("image: {IMAGE}\n"), |image| image == IMAGE).await;

    let redis = Redis::new(&world, "fuse");
    redis.create(&json!({}), |_| {}).await.unwrap();
    let message = eventually("an Event says what is wrong", PATIENCE, || async {
        let events = cluster.events("fuse").await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "LogShipperFuseBlown").map(|(_, message)| message))
    })
    .await
    .unwrap();
    say(&message);
    assert!(message.contains("delete pod rec-0") && message.contains("ImagePull"), "{message}");
    redis.delete_pod(&[]).unwrap();
    let bare = redis.ready("").await.unwrap();
    assert!(container(&bare, "log-shipper").is_none(), "{bare:#}");

    configure(&world, "", |image| image != IMAGE).await;
    redis.delete_pod(&[]).unwrap();
    let again = redis.ready(uid(&bare)).await.unwrap();
    assert!(container(&again, "log-shipper").is_some(), "{again:#}");
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    redis.remove();
}
