//! The sidecar as the kubelet and the kernel run it: user, capabilities, mounts, state directory.

use std::os::unix::fs::MetadataExt as _;

use super::process;
use super::redis::{Redis, container};
use super::world::shared;

/// The user and the group of Redis Enterprise's volumes.
const REDIS: u32 = 1001;
/// An empty capability set.
const NONE: &str = "0000000000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_as_the_databases_user_with_no_powers_and_read_only_mounts() {
    let Some(world) = shared().await else { return };
    let redis = Redis::start(&world, "sidecar", |_| {}).await.unwrap();
    let pod = redis.ready("").await.unwrap();
    assert_eq!(pod["status"]["qosClass"], "Guaranteed", "as without a sidecar");
    assert_eq!(container(&pod, "log-shipper").unwrap()["restartCount"], 0);

    let shipper = process::of(&pod, "log-shipper").unwrap();
    let field = |name: &str| process::status(shipper, name).unwrap();
    assert_eq!(field("Uid"), format!("{REDIS}\t{REDIS}\t{REDIS}\t{REDIS}"));
    // The pod names no group, so the primary group is root's. fsGroup is a supplementary one.
    assert_eq!(field("Gid"), "0\t0\t0\t0");
    assert_eq!(field("Groups").split_whitespace().collect::<Vec<_>>(), ["0", "1001"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), NONE, "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"), "a filter, and none above it");

    let mounts = process::mounts(shipper).unwrap();
    let options = |at: &str| mounts.iter().find(|(path, _)| path == at).map(|(_, options)| options.as_str());
    for path in ["/", "/var/opt/redislabs/log", "/var/run/secrets/redis-log-shipper"] {
        assert_eq!(options(path), Some("ro"), "{path}: {mounts:?}");
    }
    assert_eq!(options("/var/lib/redis-log-shipper"), Some("rw"), "{mounts:?}");
    // The sidecar sees neither the credentials nor the data.
    for path in ["/opt/redislabs/credentials", "/opt/persistent"] {
        assert_eq!(options(path), None, "{path}");
    }

    let state = redis.volume().unwrap().join("log-shipper-state");
    let folder = std::fs::metadata(&state).unwrap();
    assert_eq!((folder.uid(), folder.gid(), format!("{:o}", folder.mode() & 0o7777)), (0, REDIS, "2775".to_owned()));
    let owners = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().metadata().unwrap().uid());
    let owners: Vec<_> = owners.collect();
    assert!(!owners.is_empty() && owners.iter().all(|owner| *owner == REDIS), "{owners:?}");
    redis.remove();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_admitted_and_runs_where_pod_security_is_restricted() {
    let Some(world) = shared().await else { return };
    let redis = Redis::new(&world, "restricted");
    redis.create(&serde_json::json!({"pod-security.kubernetes.io/enforce": "restricted"}), |_| {}).await.unwrap();
    let pod = redis.ready("").await.unwrap();
    assert!(container(&pod, "log-shipper").is_some(), "{pod:#}");
    redis.exec(&["write-lines", "10"]).unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    redis.remove();
}
