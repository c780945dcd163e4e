//! A real logrotate with Redis Enterprise's settings.

use super::redis::Redis;
use super::world::shared;

/// With `rotate 10`, one more rotation would delete the oldest rotated file and its lines.
const ROTATIONS: usize = 9;
const LINES: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_every_line_once_while_logrotate_copies_truncates_and_compresses() {
    let Some(world) = shared().await else { return };
    let redis = Redis::start(&world, "rotated", |_| {}).await.unwrap();
    for _ in 0..ROTATIONS {
        redis.exec(&["write-lines", &LINES.to_string()]).unwrap();
        redis.exec(&["rotate"]).unwrap();
    }
    redis.exec(&["write-lines", &LINES.to_string()]).unwrap();
    let copies = std::fs::read_dir(redis.volume().unwrap().join("logs")).unwrap();
    let copies =
        copies.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("dmcproxy.log."));
    assert_eq!(copies.count(), ROTATIONS, "logrotate rotates as often as it is told");
    let lines = redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
    assert!(lines >= (ROTATIONS + 1) * LINES, "{lines}");
    redis.remove();
}
