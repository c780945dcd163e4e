//! The README's promise: after its commands both queries return lines.

use std::time::Duration;

use harness::process::eventually;

use super::redis::Redis;
use super::world::{CLUSTER, NAMESPACE, shared};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_what_redis_writes_after_the_commands_of_the_readme() {
    let Some(world) = shared().await else { return };
    let redis = Redis::of(&world, NAMESPACE, CLUSTER);
    let pod = redis.ready(&world.before).await.unwrap();
    assert_eq!(pod["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected");
    redis.exec(&["write-lines", "500"]).unwrap();
    let labels =
        [("job", "redis-enterprise-internal"), ("log_file", "dmcproxy"), ("kubernetes_namespace_name", NAMESPACE)];
    eventually("500 lines of dmcproxy", PATIENCE, || async {
        let entries = world.receiver.entries(&labels).await?;
        Ok((entries.iter().filter(|entry| entry.text.contains("/500 connected")).count() == 1).then_some(()))
    })
    .await
    .unwrap();
}
