//! A person ships a support package to a real Loki, twice, and Loki shows each line once, by node and in order.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::loki::Loki;
use harness::programs::program;
use harness::servers::loki;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn package(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

/// So many lines, a millisecond apart.
fn lines(start: jiff::Timestamp, first: i64, count: i64) -> String {
    let line = |number: i64| {
        let time = start.checked_add(jiff::SignedDuration::from_millis(1 + number)).unwrap();
        format!("{} INFO cnm_http: line {number}\n", time.strftime("%Y-%m-%d %H:%M:%S,%3f"))
    };
    (first..first + count).map(line).collect()
}

fn ship(loki: &Loki, path: &std::path::Path) -> Output {
    let mut command = Command::new(program("redis-log-shipper").unwrap());
    command.args(["run", "--once", "--label=job=redis", &format!("--loki-url={}", loki.push_url()), "--log-dir"]);
    command.arg(path).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_shows_each_line_of_a_package_once_by_node_and_in_order() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start(&binary).await.unwrap();
    let start = jiff::Timestamp::now();
    let text = |first, count| lines(start, first, count).into_bytes();
    let node_2 = package(&[("node_2/logs/cnm_http.log", text(0, 50))]);
    let files = [
        ("debuginfo/node_1/logs/cnm_http.log", text(40, 20)),
        ("debuginfo/node_1/logs/cnm_http.log.1", text(20, 20)),
        ("debuginfo/node_1/logs/cnm_http.log.2.gz", gzip(&text(0, 20))),
        ("debuginfo/node_2/node_2.tar.gz", node_2),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("debuginfo.tar.gz");
    std::fs::write(&path, package(&files)).unwrap();
    for _ in 0..2 {
        let shipped = ship(&loki, &path);
        assert!(shipped.status.success(), "{}", String::from_utf8_lossy(&shipped.stderr));
        let said = String::from_utf8(shipped.stdout).unwrap();
        assert!(said.starts_with("shipped 110 entries of 2 files from "), "{said}");
        assert!(said.ends_with("query: {job=\"redis\", node=~\".+\"}\n"), "{said}");
    }
    for (node, count) in [("node_1", 60), ("node_2", 50)] {
        let query = format!(r#"{{job="redis", node="{node}", log_file="cnm_http"}}"#);
        let shown = loki.query().lines(&query).await.unwrap();
        assert_eq!(shown.join("\n") + "\n", lines(start, 0, count), "{node}");
    }
    assert_eq!(loki.query().lines(r#"{job="redis", node=~".+"}"#).await.unwrap().len(), 110);
}
