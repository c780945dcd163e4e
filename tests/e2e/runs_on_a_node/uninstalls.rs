//! Runs the uninstall commands of docs/install.md as documented, then the README's commands again.

use harness::repository;
use serde_json::Value;

use super::redis::{Redis, uid};
use super::world::{CLUSTER, NAMESPACE, alone, is_slow_wanted};

/// The commands of the section "Uninstall", in their order.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/install.md")).unwrap();
    let (_, section) = page.split_once("## Uninstall").unwrap();
    section.lines().filter_map(|line| line.trim().strip_prefix("$ kubectl ")).map(ToOwned::to_owned).collect()
}

fn containers(pod: &Value) -> usize {
    pod["spec"]["containers"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_the_commands_of_the_documentation_and_it_can_be_installed_again() {
    if !is_slow_wanted("uninstalls") {
        return;
    }
    let Some(world) = alone().await else { return };
    let redis = Redis::of(&world, NAMESPACE, CLUSTER);
    let injected = redis.ready("").await.unwrap();
    assert_eq!(containers(&injected), 3);
    let commands = commands();
    assert!(commands.len() >= 4, "{commands:?}");
    for (number, command) in commands.iter().enumerate() {
        let words: Vec<_> = command.split_whitespace().collect();
        world.node.kubectl_in(&world.checkout, &words).unwrap();
        // The second step of the page: restart the pods.
        if number == 0 {
            redis.delete_pod(&[]).unwrap();
        }
    }
    let bare = redis.ready(uid(&injected)).await.unwrap();
    assert_eq!(containers(&bare), 2);
    for kind in ["clusterrole", "clusterrolebinding", "priorityclass", "mutatingwebhookconfiguration", "namespace"] {
        let left = world.node.kubectl(&["get", kind, "-o", "name"]).unwrap();
        assert!(!left.contains("redis-log"), "{kind}: {left}");
    }

    world.run_readme().unwrap();
    let again = redis.ready(uid(&bare)).await.unwrap();
    assert_eq!(containers(&again), 3);
    redis.exec(&["write-lines", "100"]).unwrap();
    redis.all_shown(&world.receiver, "dmcproxy").await.unwrap();
}
