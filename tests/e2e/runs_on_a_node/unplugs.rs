//! The node fails and comes back. Afterwards every line is shown once.
//!
//! This test needs the node for itself. Tests start in the order of their names, so the module's name comes after the others.

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
