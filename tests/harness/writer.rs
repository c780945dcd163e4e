//! Writes and rotates log files as Redis Enterprise does, and records every line.
//!
//! The lines are invented in the formats of the real programs. Each has a number, so no two are equal.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::store::Entry;

/// How many rotated files are kept, as with the product's logrotate.
const KEPT: u32 = 10;

/// The format of a program's lines.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// dmcproxy's own logger.
    Dmc,
    /// Python's logging, with a traceback now and then.
    Python,
    /// supervisord.
    Supervisor,
    /// A Redis server.
    Redis,
    /// Envoy's access log.
    Envoy,
    /// Prometheus programs.
    Logfmt,
    /// Go's log package.
    Golog,
    /// A process's own prints, without a format.
    Plain,
}

/// The 17 files seen in production, each with its format.
pub const FILES: [(&str, Style); 17] = [
    ("dmcproxy", Style::Dmc),
    ("dmcproxy_stderr", Style::Plain),
    ("dmcproxy_stdout", Style::Plain),
    ("supervisord", Style::Supervisor),
    ("stats_archiver", Style::Python),
    ("cnm_http", Style::Python),
    ("crdb_controller", Style::Python),
    ("metrics_exporter", Style::Python),
    ("resource_mgr_stderr", Style::Plain),
    ("ccs-redis", Style::Redis),
    ("prestop_exec_action", Style::Python),
    ("statsd_exporter", Style::Logfmt),
    ("sentinel_service", Style::Golog),
    ("rladmin", Style::Python),
    ("envoy_access", Style::Envoy),
    ("rl_info_provider", Style::Python),
    ("readiness_check", Style::Python),
];

/// One log file and its writer.
#[derive(Debug)]
pub struct LogFile {
    /// The file's name without `.log`.
    pub stem: &'static str,
    /// Every line that was written, in order.
    pub written: Vec<String>,
    style: Style,
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the file in `dir`, creating it.
    pub fn open(dir: &Path, stem: &'static str, style: Style) -> std::io::Result<Self> {
        let path = dir.join(format!("{stem}.log"));
        Ok(Self { stem, written: Vec::new(), style, file: append(&path)?, path })
    }

    /// Opens all of [`FILES`] in `dir`.
    pub fn open_all(dir: &Path) -> std::io::Result<Vec<Self>> {
        FILES.iter().map(|(stem, style)| Self::open(dir, stem, *style)).collect()
    }

    /// Writes `entries` log entries, some of several lines, some in two writes.
    pub fn write(&mut self, entries: usize) -> std::io::Result<()> {
        for _ in 0..entries {
            let number = self.written.len() + 1;
            let text = entry(self.style, self.stem, number);
            self.written.extend(text.lines().map(ToOwned::to_owned));
            let half = if number.is_multiple_of(7) { text.len() / 2 } else { text.len() };
            let (first, rest) = text.as_bytes().split_at(half);
            self.file.write_all(first)?;
            self.file.write_all(rest)?;
        }
        Ok(())
    }

    /// Rotates as logrotate's `copytruncate` does: the copy first, then the truncation, on the same inode.
    pub fn rotate_by_copytruncate(&mut self) -> std::io::Result<()> {
        self.make_room()?;
        std::fs::copy(&self.path, self.rotated(1))?;
        self.file.set_len(0)
    }

    /// Rotates by renaming, then opens a new file.
    pub fn rotate_by_rename(&mut self) -> std::io::Result<()> {
        self.make_room()?;
        std::fs::rename(&self.path, self.rotated(1))?;
        self.file = append(&self.path)?;
        Ok(())
    }

    /// Compresses a rotated file as gzip does: the archive first, then the file goes. Does nothing if there is no such file.
    pub fn compress(&self, number: u32) -> std::io::Result<()> {
        let plain = self.rotated(number);
        if !plain.exists() {
            return Ok(());
        }
        let mut gzip = GzEncoder::new(File::create(compressed(&plain))?, Compression::fast());
        gzip.write_all(&std::fs::read(&plain)?)?;
        gzip.finish()?;
        std::fs::remove_file(plain)
    }

    fn make_room(&self) -> std::io::Result<()> {
        for number in (1..=KEPT).rev() {
            let (from, to) = (self.rotated(number), self.rotated(number + 1));
            for (from, to) in [(compressed(&from), compressed(&to)), (from, to)] {
                if from.exists() {
                    if number == KEPT { std::fs::remove_file(from)? } else { std::fs::rename(from, to)? }
                }
            }
        }
        Ok(())
    }

    fn rotated(&self, number: u32) -> PathBuf {
        self.path.with_added_extension(number.to_string())
    }
}

/// How often a line is missing, and the timestamps and labels with which it is shown.
type Seen<'a> = (i64, Vec<(i64, &'a str)>);

/// Describes what is missing, shown twice or out of order; `None` if nothing is.
pub fn difference(written: &[String], shown: &[Entry]) -> Option<String> {
    let lines: Vec<_> = shown.iter().flat_map(|entry| entry.lines().map(move |line| (line, entry))).collect();
    let mut times: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for line in written {
        times.entry(line).or_default().0 += 1;
    }
    for (line, entry) in &lines {
        let (count, times) = times.entry(line).or_default();
        *count -= 1;
        times.push((entry.time, entry.labels.as_str()));
    }
    let moved = written.iter().zip(&lines).find(|(written, shown)| *written != shown.0);
    if moved.is_none() && written.len() == lines.len() {
        return None;
    }
    let missing: Vec<_> = times.iter().filter(|(_, (count, _))| *count > 0).map(|(line, _)| line).take(5).collect();
    let doubled: Vec<_> = times.iter().filter(|(_, (count, _))| *count < 0).take(5).collect();
    let (written, shown) = (written.len(), lines.len());
    Some(format!(
        "{written} written, {shown} shown; missing {missing:#?}, doubled (with their times and labels) {doubled:#?}, first that moved {moved:?}"
    ))
}

fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("gz")
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn entry(style: Style, stem: &str, number: usize) -> String {
    let now = Timestamp::now();
    let at = |format: &str| now.strftime(format).to_string();
    match style {
        Style::Dmc if number.is_multiple_of(50) => format!(
            "{number}) {} [1644] ERR dmc.shard (connect@shard_conn.cpp:331) - bdb:1 connection to 10.129.0.17:{} failed: Connection refused\n",
            at("%Y-%m-%d %H:%M:%S.%3f"),
            20_000 + number
        ),
        Style::Dmc => format!(
            "{number}) {} [1644] INF dmc.conn (accept@listener.cpp:118) - bdb:1 client 10.128.2.31:{} connected\n",
            at("%Y-%m-%d %H:%M:%S.%3f"),
            30_000 + number
        ),
        Style::Python if number.is_multiple_of(50) => format!(
            "{} ERROR {stem}: request {number} failed\nTraceback (most recent call last):\n  File \"/opt/redislabs/lib/{stem}.py\", \
             line {number}, in put\nValueError: invalid memory_size in request {number}\n",
            at("%Y-%m-%d %H:%M:%S,%3f")
        ),
        Style::Python => format!("{} INFO {stem} MainThread: request {number} done\n", at("%Y-%m-%d %H:%M:%S,%3f")),
        Style::Supervisor if number.is_multiple_of(50) => {
            format!("{} INFO exited: worker (exit status 1; not expected), {number}\n", at("%Y-%m-%d %H:%M:%S,%3f"))
        }
        Style::Supervisor => format!("{} INFO spawned: 'worker' with pid {number}\n", at("%Y-%m-%d %H:%M:%S,%3f")),
        Style::Redis => format!("612:M {} * {number} changes in 300 seconds. Saving...\n", at("%d %b %Y %H:%M:%S.%3f")),
        Style::Envoy => format!(
            "[{}] \"GET /v1/bootstrap HTTP/1.1\" 200 - 0 {number} 3 2 \"127.0.0.1\" \"curl/7.76.1\" \"-\" \"localhost:8080\" \"-\"\n",
            at("%Y-%m-%dT%H:%M:%S.%3fZ")
        ),
        Style::Logfmt => {
            format!("ts={} caller=main.go:297 level=info msg=\"flush {number}\"\n", at("%Y-%m-%dT%H:%M:%S.%3fZ"))
        }
        Style::Golog => format!("{} INFO {stem} served request {number}\n", at("%Y/%m/%d %H:%M:%S.%3f")),
        Style::Plain => format!("worker {number} of {stem}: Resource temporarily unavailable\n"),
    }
}
