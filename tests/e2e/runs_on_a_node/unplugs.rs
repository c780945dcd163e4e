//! The node ends at once and comes back. Every line is shown once afterwards.
//!
//! Tests start in the order of their names, and this one needs the node for itself: its module stands after those that share it.

use harness::say;

use super::kills::{LINES, restarted};
use super::redis::Redis;
use super::world::alone;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_and_doubles_nothing_when_the_node_reboots() {
    let Some(mut world) = alone().await else { return };
    let start = std::time::Instant::now();
    {
        let redis = Redis::start(&world, "rebooted", |_| {}).await.unwrap();
        redis.exec(&["write-lines", LINES]).unwrap();
    }
    world.node.reboot().await.unwrap();
    say(&format!("the node is back {:.1} s after the scenario's start", start.elapsed().as_secs_f64()));
    let redis = Redis::new(&world, "rebooted");
    let pod = restarted(&redis, "redis-enterprise-node", 0).await;
    assert_eq!(pod["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected");
    redis.exec(&["write-lines", LINES]).unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    redis.remove();
}
