//! `prove` compares the files with what a real Loki shows: after rotations, and with a lost and a doubled line.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::pushing::{Client, Stream};
use harness::loki::Loki;
use harness::process::eventually;
use harness::programs::program;
use harness::servers::loki;
use jiff::{Span, Timestamp};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_mins(1);
const LOG_FILE: &str = "dmcproxy.log";

/// A log directory, and a shipper for it.
struct Node {
    dir: tempfile::TempDir,
    push_url: String,
}

impl Node {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Appends numbered lines, written ten minutes ago. Each second one is continued by another line.
    fn append(&self, name: &str, numbers: std::ops::Range<u32>) {
        use std::io::Write as _;
        let start = Timestamp::now() - Span::new().minutes(10);
        let mut file = std::fs::File::options().create(true).append(true).open(self.path(name)).unwrap();
        for number in numbers {
            let at = start + Span::new().milliseconds(i64::from(number));
            writeln!(file, "{} INFO line {number}", at.strftime("%Y-%m-%d %H:%M:%S,%3f")).unwrap();
            if number % 2 == 0 {
                writeln!(file, "  more of line {number}").unwrap();
            }
        }
    }

    fn rotate(&self) {
        std::fs::rename(self.path(LOG_FILE), self.path("dmcproxy.log.1")).unwrap();
    }

    async fn shipper(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program("redis-log-shipper").unwrap());
        let dir = |path: &Path| path.display().to_string();
        command.args(args).args(["--log-dir", &dir(self.dir.path()), "--loki-url", &self.push_url]);
        command.args(["--state-dir", &dir(&self.path("state")), "--label", "job=redis-enterprise-internal"]);
        command.kill_on_drop(true).output().await.unwrap()
    }

    /// What `prove` prints, once that holds `expected`, and whether it found no difference.
    async fn proof(&self, expected: &str) -> (String, bool) {
        let what = format!("{expected:?} in what `prove` prints");
        eventually(&what, PATIENCE, || async {
            let output = self.shipper(&["prove"]).await;
            let text = String::from_utf8(output.stdout)?;
            eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
            Ok(text.contains(expected).then_some((text, output.status.success())))
        })
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_proves_that_every_line_is_shown_once_and_finds_a_lost_and_a_doubled_one() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start(&binary).await.unwrap();
    let node = Node { dir: tempfile::tempdir().unwrap(), push_url: loki.push_url() };
    // The first file of a stream is there before it is rotated. Each run ships one generation.
    node.append(LOG_FILE, 0..2000);
    assert!(node.shipper(&["run", "--once"]).await.status.success());
    node.append(LOG_FILE, 2000..3000);
    node.rotate();
    node.append(LOG_FILE, 3000..4000);
    assert!(node.shipper(&["run", "--once"]).await.status.success());
    let (text, is_good) = node.proof("lost 0, doubled 0").await;
    assert!(is_good && text.contains("     6000       6000          0          0       4000       4000"), "{text}");

    // A line that was shipped becomes another one: then its new text is lost, and its old text is in no file.
    let rotated = node.path("dmcproxy.log.1");
    let changed = std::fs::read_to_string(&rotated).unwrap().replace("INFO line 1234\n", "INFO lost 1234\n");
    std::fs::write(&rotated, changed).unwrap();
    let (text, is_good) = node.proof("lost 1, doubled 0").await;
    assert!(!is_good && text.contains("the first difference is a lost line at ") && text.contains("INFO lost 1234"));

    // Somebody pushes a line once more, with another time.
    let content = std::fs::read_to_string(node.path(LOG_FILE)).unwrap();
    let line = content.lines().find(|line| line.ends_with("INFO line 3001")).unwrap();
    let mut again = Stream::new("dmcproxy", 1);
    again.labels = r#"{job="redis-enterprise-internal", log_file="dmcproxy"}"#.to_owned();
    let time = (Timestamp::now() - Span::new().minutes(9)).as_nanosecond();
    again.entries = vec![(i64::try_from(time).unwrap(), line.to_owned())];
    Client::new(&loki.push_url()).push(&again).await;
    let (text, is_good) = node.proof("lost 1, doubled 1").await;
    assert!(!is_good, "{text}");
}
