//! `run --once` for a person: what is there is shipped in order, and a summary says what came of it.

use std::io::Write as _;
use std::path::Path;
use std::process::Output;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::process::Command;

use crate::world::{Loki, Place, output, shipper};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn tar_gz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mtime(1_771_626_660);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

/// A line of this second.
fn line(second: u32) -> String {
    format!("2026-02-20 22:31:{second:02},000 INFO line {second}\n")
}

fn once(loki: &Loki, log_dir: &Path) -> Command {
    once_for(loki, log_dir, "876000h")
}

fn once_for(loki: &Loki, log_dir: &Path, max_age: &str) -> Command {
    let mut command = shipper();
    command.args(["run", "--once", "--max-age", max_age, "--label=job=redis"]).arg(format!("--loki-url={}", loki.url));
    command.arg("--log-dir").arg(log_dir);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The labels and the lines of every push.
fn pushed(loki: &Loki) -> Vec<(String, Vec<String>)> {
    let lines = |entries: Vec<(i64, String)>| entries.into_iter().map(|(_, line)| line).collect();
    loki.streams().into_iter().map(|stream| (stream.labels, lines(stream.entries))).collect()
}

#[tokio::test]
async fn ships_rotated_and_compressed_files_in_order_and_says_what_came_of_it() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.logs().join(name), bytes).unwrap();
    write("a.log.10.gz", &gzip(line(1).as_bytes()));
    write("a.log.2", line(2).as_bytes());
    write("a.log.1", line(3).as_bytes());
    // The last line has no end.
    write("a.log", format!("{}2026-02-20 22:31:05,000 INFO password=hunter2", line(4)).as_bytes());
    write("b.log", b"no time\n");
    write("other.txt", b"no log\n");
    let ended = output(&mut once(&loki, &place.logs())).await;
    let lines: Vec<_> =
        pushed(&loki).into_iter().filter(|(labels, _)| labels.contains("\"a\"")).flat_map(|(_, lines)| lines).collect();
    let mut expected: Vec<_> = (1..=4).map(|second| line(second).trim_end().to_owned()).collect();
    expected.push("2026-02-20 22:31:05,000 INFO password=[redacted:1-7]".to_owned());
    assert_eq!(lines, expected);
    let said = stdout(&ended);
    assert!(said.starts_with("shipped 6 entries of 2 files from 2026-02-20T22:31:01Z to 2"), "{said}");
    assert!(
        said.ends_with("\n  a.log  5\n  b.log  1\nsecrets redacted: password 1\nquery: {job=\"redis\"}\n"),
        "{said}"
    );
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(
        stderr(&ended).contains("\nwarning: the oldest entry is of 2026-02-20T22:31:01Z, and Loki rejects"),
        "{}",
        stderr(&ended)
    );

    // A second run pushes the same bytes, which Loki stores once.
    let first = loki.streams();
    output(&mut once(&loki, &place.logs())).await;
    assert_eq!(loki.streams()[first.len()..], first);
}

#[tokio::test]
async fn fails_and_counts_by_reason_what_loki_rejects() {
    let (place, loki) = (Place::new(), Loki::start().await);
    place.write(0, 3);
    loki.refuse(Some((400, "entry for stream '{job=\"x\"}' has timestamp too old: 2020-01-01T00:00:00Z")));
    let ended = output(&mut once(&loki, &place.logs())).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(stdout(&ended).contains("\nrejected by Loki: too_old "), "{}", stdout(&ended));
    // The same with positions.
    let ended = output(place.command(&loki.url).arg("--once")).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(stdout(&ended).contains("\nrejected by Loki: too_old "), "{}", stdout(&ended));
}

#[tokio::test]
async fn ships_a_support_package_with_its_folders_as_nodes_in_the_order_of_the_files() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let bytes = |text: String| text.into_bytes();
    // The live file stands before its rotated files.
    let node_2 = tar_gz(&[
        ("node_2/logs/dmcproxy.log", bytes(line(5))),
        ("node_2/logs/dmcproxy.log.1", bytes(line(4))),
        ("node_2/logs/dmcproxy.log.2.gz", gzip(line(3).as_bytes())),
    ]);
    let package = tar_gz(&[
        ("debuginfo/node_1/logs/dmcproxy.log", bytes(line(2))),
        ("debuginfo/node_1/logs/dmcproxy.log.1.gz", gzip(line(1).as_bytes())),
        ("debuginfo/node_1/ccs-redis.json", b"{}".to_vec()),
        ("debuginfo/node_2/node_2.tar.gz", node_2),
    ]);
    let path = place.file("debuginfo.tar.gz");
    std::fs::write(&path, &package).unwrap();
    let ended = output(&mut once(&loki, path.as_ref())).await;
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let of_node = |node: &str| {
        let labels = format!("{{job=\"redis\", node=\"{node}\", log_file=\"dmcproxy\"}}");
        pushed(&loki).into_iter().filter(|(of, _)| *of == labels).flat_map(|(_, lines)| lines).collect::<Vec<_>>()
    };
    let lines = |seconds: &[u32]| seconds.iter().map(|second| line(*second).trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(of_node("node_1"), lines(&[1, 2]));
    assert_eq!(of_node("node_2"), lines(&[3, 4, 5]));
    let expected = "shipped 5 entries of 2 files from 2026-02-20T22:31:01Z to 2026-02-20T22:31:05Z\n  \
        node_1/dmcproxy.log  2\n  node_2/dmcproxy.log  3\nquery: {job=\"redis\", node=~\".+\"}\n";
    assert_eq!(stdout(&ended), expected);
    // Nothing was unpacked.
    assert_eq!(std::fs::read_dir(place.file("")).unwrap().count(), 2);
}

#[tokio::test]
async fn says_at_once_that_loki_would_reject_an_old_package_and_pushes_nothing() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let path = place.file("debuginfo.tgz");
    std::fs::write(&path, tar_gz(&[("logs/a.log", b"2020-02-20 22:31:07,000 INFO x\n".to_vec())])).unwrap();
    let ended = output(&mut once_for(&loki, path.as_ref(), "7d")).await;
    assert_eq!(ended.status.code(), Some(1));
    let said = stderr(&ended);
    assert!(
        said.contains(
            "error: nothing is shipped: every entry is older than --max-age 168h, the newest is of 2020-02-20T22:31:07Z"
        ),
        "{said}"
    );
    assert_eq!((stdout(&ended).as_str(), loki.streams().len()), ("", 0));
}

#[tokio::test]
async fn pushes_nothing_of_a_damaged_package_and_names_what_it_leaves_out() {
    let (place, loki) = (Place::new(), Loki::start().await);
    let path = place.file("debuginfo.tar.gz");
    let good = tar_gz(&[("logs/a.log", line(1).repeat(1000).into_bytes())]);
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let ended = output(&mut once(&loki, path.as_ref())).await;
    assert_eq!((ended.status.code(), loki.streams().len()), (Some(1), 0));
    assert!(stderr(&ended).contains("error: failed to read the support package"), "{}", stderr(&ended));

    let damaged = gzip(line(1).as_bytes());
    let files = [("logs/a.log", line(1).into_bytes()), ("logs/b.log.1.gz", damaged[..damaged.len() / 2].to_vec())];
    std::fs::write(&path, tar_gz(&files)).unwrap();
    let ended = output(&mut once(&loki, path.as_ref())).await;
    assert_eq!((ended.status.code(), loki.streams().len()), (Some(1), 1));
    assert!(stdout(&ended).contains("\nleft out: 1 damaged files\n"), "{}", stdout(&ended));
}
