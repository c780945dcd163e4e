//! Runs every LogQL query of the documentation and of the dashboards on entries that the shipper shipped. A real Loki runs whole
//! queries, if there is one. VictoriaLogs runs their selectors, which have the same syntax.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::programs::program;
use harness::repository;
use harness::servers::{Servers, loki};
use harness::store::Store;
use harness::writer::LogFile;

use crate::documentation::pages;

/// Enough to include rare entries: every fiftieth entry of some files is a traceback.
const ENTRIES: usize = 600;

/// The queries of a page, in LogQL blocks and inside sentences.
fn queries(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let inline = text.split('`').filter(|code| code.starts_with('{') && code.contains("=\"") && !code.contains('\n'));
    let inline: Vec<_> = inline.map(str::to_owned).collect();
    let blocks = text.split("```logql\n").skip(1);
    let queries = blocks.map(|block| block.split_once("```").unwrap().0.trim().to_owned());
    // The README has one query a line.
    let lines = |query: String| {
        let is_list = query.lines().all(|line| line.starts_with('{') && line.ends_with('}'));
        if is_list { query.lines().map(str::to_owned).collect() } else { vec![query] }
    };
    queries.flat_map(lines).chain(inline).collect()
}

/// The stream selectors of a query. None for a query of absent streams.
fn selectors(query: &str) -> Vec<&str> {
    if query.contains("absent_over_time") {
        return Vec::new();
    }
    let starts = query.match_indices('{').map(|(at, _)| at);
    let selectors = starts.filter_map(|at| query.get(at..=at + query.get(at..)?.find('}')?));
    selectors.filter(|selector| selector.contains("=\"") || selector.contains("~\"")).collect()
}

/// Ships every file with the labels of an injected pod.
fn ship_to(store: &Store) {
    let dir = tempfile::tempdir().unwrap();
    for mut file in LogFile::open_all(dir.path()).unwrap() {
        file.write(ENTRIES).unwrap();
    }
    let labels = [
        "job=redis-enterprise-internal",
        "redis_cluster=demo-redis-cluster",
        "log_type=application",
        "kubernetes_namespace_name=redis-enterprise",
        "kubernetes_pod_name=demo-redis-cluster-0",
        "kubernetes_container_name=redis-enterprise-node",
        "kubernetes_host=node-1",
    ];
    let shipped = Command::new(program("redis-log-shipper").unwrap())
        .args(["run", "--once", &format!("--loki-url={}", store.push_url()), "--log-dir"])
        .arg(dir.path())
        .args(labels.map(|label| format!("--label={label}")))
        .output()
        .unwrap();
    assert!(shipped.status.success(), "{}", String::from_utf8_lossy(&shipped.stderr));
}

/// The queries of the dashboards that ask a Loki, with everything chosen that may be chosen.
fn queries_of_dashboards() -> Vec<(PathBuf, String)> {
    let path = repository().join("manifests/components/dashboards/redis-enterprise-logs.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let filled_in = |query: &str| {
        let mut query = query.to_owned();
        for (variable, value) in [
            ("$__auto", "1h"),
            ("$job", ".+"),
            ("$namespace", ".*"),
            ("$redis_cluster", ".*"),
            ("$pod", ".*"),
            ("$log_file", ".*"),
            ("$search", ""),
        ] {
            query = query.replace(variable, value);
        }
        assert!(!query.contains('$'), "a variable is left in {query}");
        query
    };
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| (path.clone(), filled_in(target["expr"].as_str().unwrap()))).collect()
}

/// Every query with its page.
fn all_queries() -> Vec<(PathBuf, String)> {
    let of_page =
        |page: PathBuf| queries(&page).into_iter().map(move |query| (page.clone(), query)).collect::<Vec<_>>();
    let mut all: Vec<_> = pages().into_iter().flat_map(of_page).collect();
    assert!(all.len() > 15, "{} queries were found", all.len());
    let of_dashboards = queries_of_dashboards();
    assert!(of_dashboards.len() >= 10, "{} queries were found in the dashboards", of_dashboards.len());
    all.extend(of_dashboards);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_selector_of_the_documentation_selects_something() {
    let Some(servers) = Servers::find("answers_the_cookbook").unwrap() else { return };
    let store = Store::victoria_logs(&servers.victoria_logs).await.unwrap();
    ship_to(&store);
    let Store::VictoriaLogs(logs) = &store else { unreachable!("started above") };
    let mut asked = 0;
    for (page, query) in all_queries() {
        for selector in selectors(&query) {
            let found = logs.count(selector).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {query}\n{error:#}", page.display()));
            assert!(found > 0, "{}: nothing has the labels {selector}", page.display());
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked} selectors were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_every_query_of_the_documentation_answers() {
    let Some(binary) = loki() else { return };
    let store = Store::loki(&binary).await.unwrap();
    ship_to(&store);
    let Store::Loki(loki) = &store else { unreachable!("started above") };
    for (page, query) in all_queries() {
        let page = page.display();
        let results = loki.query().results(&query).await;
        let results = results.unwrap_or_else(|error| panic!("{page}: {query}\n{error:#}"));
        assert!(results > 0, "{page}: nothing answers {query}");
    }
}
