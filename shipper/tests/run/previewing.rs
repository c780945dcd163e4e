//! `preview` prints what `run` pushes.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::world::{Loki, PATIENCE, Place, append, output, shipper};

const LINES: &str = "before the first timestamp\n\
    2026-02-20 22:31:07,000 ERROR cnm: bdb:12 failed, redis://admin:hunter22@h:1\nTraceback:\n  password=hunter2\n\
    2026-02-20 22:31:07,000 INFO cnm: next\n";

#[tokio::test]
async fn prints_the_entries_that_run_pushes() {
    let (place, mut loki) = (Place::new(), Loki::start().await);
    append(&place.logs().join("cnm.log"), LINES);
    append(&place.logs().join("other.txt"), LINES);
    let flags = ["--max-age=876000h", "--label=job=redis", "--label=node=1"];
    let shipped = output(place.command(&loki.url).args(flags).arg("--once")).await;
    assert_eq!(shipped.status.code(), Some(0), "{}", String::from_utf8_lossy(&shipped.stderr));
    loki.has(3).await;
    let pushed: Vec<_> = loki
        .streams()
        .into_iter()
        .flat_map(|stream| {
            assert_eq!(stream.labels, r#"{job="redis", node="1", log_file="cnm"}"#);
            stream.entries.into_iter().zip(stream.metadata).map(|((time, line), metadata)| {
                let metadata: serde_json::Map<_, _> =
                    metadata.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
                json!([time, line, metadata])
            })
        })
        .collect();

    let mut command = shipper();
    command.arg("preview").args(flags).args(["-o", "json", "--log-dir"]).arg(place.logs());
    let preview = output(&mut command).await;
    assert_eq!(preview.status.code(), Some(0));
    let printed: Vec<Value> =
        preview.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(printed[0]["labels"], json!({"job": "redis", "node": "1", "log_file": "cnm"}));
    let printed: Vec<_> = printed
        .iter()
        .map(|entry| {
            let time: jiff::Timestamp = entry["time"].as_str().unwrap().parse().unwrap();
            json!([i64::try_from(time.as_nanosecond()).unwrap(), entry["line"], entry["metadata"]])
        })
        .collect();
    assert_eq!(printed, pushed);
    let said = String::from_utf8(preview.stderr).unwrap();
    assert_eq!(said, "3 entries of 1 files would be pushed; secrets redacted: 2 (url 1, password 1)\n");
}

#[tokio::test]
async fn ends_quietly_once_its_reader_has_seen_enough() {
    let place = Place::new();
    place.write(0, 100_000);
    let mut preview = shipper()
        .args(["preview", "--log-dir"])
        .arg(place.logs())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut head = BufReader::new(preview.stdout.take().unwrap()).lines();
    assert_eq!(head.next_line().await.unwrap().unwrap(), "==> a.log  {log_file=\"a\"}");
    drop(head);
    let mut said = String::new();
    preview.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, preview.wait()).await.unwrap().unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn prints_each_line_of_standard_input_when_the_next_one_comes() {
    let mut command = shipper();
    command.args(["preview", "-", "--stdin-name=dmcproxy.log"]).stdin(Stdio::piped());
    let mut preview = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut input = preview.stdin.take().unwrap();
    let mut printed = BufReader::new(preview.stdout.take().unwrap()).lines();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S");
    input.write_all(format!("{now},000 INFO one\n{now},001 INFO two\n").as_bytes()).await.unwrap();
    let mut next = async || tokio::time::timeout(PATIENCE, printed.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await, "==> -  {log_file=\"dmcproxy\"}");
    assert!(next().await.ends_with("INFO one"));
    // The second line may continue. Its end comes with the end of the input.
    drop(input);
    assert!(next().await.ends_with("INFO two"));
    assert!(preview.wait().await.unwrap().success());
}

#[tokio::test]
async fn names_the_file_that_it_cannot_read_and_goes_on() {
    let place = Place::new();
    place.write(0, 1);
    let mut command = shipper();
    command.args(["preview", "/nowhere.log"]).arg(place.logs());
    let preview = output(&mut command).await;
    assert_eq!(preview.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&preview.stdout).contains("line 0"));
    assert!(String::from_utf8_lossy(&preview.stderr).starts_with("warning: failed to read /nowhere.log: No such file"));
    command = shipper();
    let refused = output(command.args(["preview", "--max-age=old", "--redact=perhaps"])).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("error: invalid settings: --max-age"));
}
