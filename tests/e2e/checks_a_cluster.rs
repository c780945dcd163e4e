//! `redis-log-webhook check` on a real API server: it finds nothing where all is right, and names each fault by its code.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

mod faults;
mod files;
mod way_to_loki;
mod world;

use harness::servers::Servers;
use serde_json::json;
use world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_nothing_where_all_is_right() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.create_pod("redis", "rec-0").await;
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), [""; 0], "{report:#?}");
    assert!(report.succeeded);
    for check in [
        "the configuration is valid",
        "the webhook is registered",
        "its selectors match the right pods",
        "it cannot keep pods from being created",
        "the webhook is Ready",
        "the API server trusts its certificate",
        "namespace redis is labelled",
        "a sample pod in namespace canary gets the sidecar (a dry run)",
        "pod redis/rec-0 has the current sidecar",
    ] {
        assert_eq!(report.result(check), Some("ok"), "{check}: {report:#?}");
    }
    assert_eq!(world.cluster.pods("canary").await.unwrap(), [""; 0], "a dry run stored a pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_an_account_may_not_read_and_guesses_nothing() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.create_pod("redis", "rec-0").await;
    world.cluster.create_namespace("people", &json!({}), &["nobody"]).await.unwrap();
    let report = world.check_as("people", "nobody", &[]).await;
    assert!(report.codes().iter().all(|code| code == "RLS110"), "{report:#?}");
    assert!(report.problems().len() > 5 && report.succeeded, "{report:#?}");
    assert!(report.problems().iter().any(|problem| problem.contains("your account may not list pods")), "{report:#?}");
    let report = world.check_as("people", "nobody", &["--failure-threshold=warning", "--namespace=redis"]).await;
    assert!(report.codes().iter().all(|code| code == "RLS110") && !report.succeeded, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_a_list_of_several_pages() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    world.cluster.create_namespace("many", &json!({}), &["rec"]).await.unwrap();
    // One more than a page.
    let numbers: Vec<_> = (0..=500).collect();
    for some in numbers.chunks(20) {
        let pods = some.iter().map(|i| world.create_bare_pod("many", format!("rec-{i}")));
        futures::future::join_all(pods).await;
    }
    let report = world.check(&[]).await;
    let problem = "namespace many has 501 Redis Enterprise pods and lacks the label redis-log-shipper.io/inject";
    assert_eq!(report.problems(), [problem], "{report:#?}");
}
