//! Every LogQL query of the documentation, asked of a real Loki that holds what the shipper shipped.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::loki::Loki;
use harness::programs::program;
use harness::repository;
use harness::servers::Servers;
use harness::writer::LogFile;

/// Enough for what is rare: every fiftieth entry of some files is a traceback.
const ENTRIES: usize = 600;

/// Every page there is.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([repository().join("README.md")])
        .collect()
}

/// The queries of a page: its blocks that are LogQL, and those in the middle of a sentence.
fn queries(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let inline = text.split('`').filter(|code| code.starts_with('{') && code.contains("=\"") && !code.contains('\n'));
    let inline: Vec<_> = inline.map(str::to_owned).collect();
    let blocks = text.split("```logql\n").skip(1);
    let queries = blocks.map(|block| block.split_once("```").unwrap().0.trim().to_owned());
    // The README has a query a line.
    let lines = |query: String| {
        let is_list = query.lines().all(|line| line.starts_with('{') && line.ends_with('}'));
        if is_list { query.lines().map(str::to_owned).collect() } else { vec![query] }
    };
    queries.flat_map(lines).chain(inline).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_documentation_answers() {
    let Some(servers) = Servers::find("answers_the_cookbook").unwrap() else { return };
    let loki = Loki::start(&servers).await.unwrap();
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
        .args(["run", "--once", &format!("--loki-url={}/loki/api/v1/push", loki.url), "--log-dir"])
        .arg(dir.path())
        .args(labels.map(|label| format!("--label={label}")))
        .output()
        .unwrap();
    assert!(shipped.status.success(), "{}", String::from_utf8_lossy(&shipped.stderr));

    let mut asked = 0;
    for page in pages() {
        for query in queries(&page) {
            let page = page.display();
            let results = loki.query().results(&query).await;
            let results = results.unwrap_or_else(|error| panic!("{page}: {query}\n{error:#}"));
            assert!(results > 0, "{page}: nothing answers {query}");
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked} queries were found");
}
