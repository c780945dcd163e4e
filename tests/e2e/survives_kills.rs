//! The shipper is killed again and again while 17 files are written and rotated and the store goes down and comes back. In the
//! end the store shows every line once, in order.
//!
//! The stores are our own strict receiver, VictoriaLogs, and a real Loki if there is one. VictoriaLogs keeps each copy of a
//! resent entry, so there every copy must be identical to the first.
//!
//! `KILLS=1000` makes the long run, `SEED=` repeats an earlier one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::loki::{Loki, Setup};
use harness::process::{eventually, keep_log};
use harness::programs::program;
use harness::servers::{Servers, loki};
use harness::store::{Entry, Store};
use harness::writer::{LogFile, difference};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::process::{Child, Command};

/// How often the shipper is killed by default.
const KILLS: usize = 20;
/// After this many kills the store must have every line: rotated files are kept only for a while.
const CHECK_EVERY: usize = 20;
/// The most rotations of a file between two checks, well below the ten rotated files that are kept.
const ROTATIONS: u32 = 5;
/// For how many kills the store is down at a time.
const OUTAGE: usize = 8;
const PATIENCE: Duration = Duration::from_mins(2);
/// With stream sharding, Loki puts a resend into another shard than the first push, and shows both. It shards above a rate,
/// and at any rate for a moment after it has replayed its own log.
const LIMITS: &str = "shard_streams: {enabled: false}";
const LABEL: (&str, &str) = ("job", "kills");

/// A shipper that starts again after every kill.
struct Shipper {
    binary: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Child,
    /// The peak memory and the most descriptors of all runs.
    peak_kib: u64,
    descriptors: usize,
}

impl Shipper {
    fn start(dir: &Path, store: &Store) -> Self {
        let path = |name: &str| dir.join(name).display().to_string();
        let args = vec![
            "run".to_owned(),
            format!("--log-dir={}", path("logs")),
            format!("--state-dir={}", path("state")),
            format!("--loki-url={}", store.push_url()),
            format!("--label={}={}", LABEL.0, LABEL.1),
            "--batch-wait=50ms".to_owned(),
            "--batch-bytes=64KiB".to_owned(),
            // If a line is shown twice, the log names the position record.
            "--log-level=debug".to_owned(),
        ];
        // A copy, because a build may replace the program during the test.
        let (binary, log) = (dir.join("redis-log-shipper"), dir.join("killed-shipper.log"));
        std::fs::copy(program("redis-log-shipper").unwrap(), &binary).unwrap();
        let child = spawn(&binary, &args, &log);
        Self { binary, args, log, child, peak_kib: 0, descriptors: 0 }
    }

    /// Kills it at any moment and starts it again.
    async fn kill(&mut self) {
        self.look();
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself; see {}", self.log.display());
        self.child.kill().await.unwrap();
        self.child = spawn(&self.binary, &self.args, &self.log);
    }

    fn look(&mut self) {
        let proc = format!("/proc/{}", self.child.id().unwrap());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        self.peak_kib = self.peak_kib.max(peak.unwrap_or_default());
        let open = std::fs::read_dir(format!("{proc}/fd")).map_or(0, Iterator::count);
        self.descriptors = self.descriptors.max(open);
    }
}

fn spawn(binary: &Path, args: &[String], log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    Command::new(binary).args(args).stdin(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap()
}

/// The files, their rotations since the last check, and all rotations.
struct Writer {
    files: Vec<LogFile>,
    rotated: Vec<u32>,
    rotations: usize,
}

impl Writer {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let files = LogFile::open_all(dir).unwrap();
        Self { rotated: vec![0; files.len()], files, rotations: 0 }
    }

    /// Writes to all files and rotates some of them for about this long.
    async fn write(&mut self, time: Duration, random: &mut StdRng) {
        let until = Instant::now() + time;
        loop {
            for (file, rotated) in self.files.iter_mut().zip(&mut self.rotated) {
                file.write(random.random_range(0..4)).unwrap();
                if *rotated < ROTATIONS && random.random_ratio(1, 40) {
                    let by_rename = random.random_ratio(1, 2);
                    let rotate = if by_rename { LogFile::rotate_by_rename } else { LogFile::rotate_by_copytruncate };
                    rotate(file).unwrap();
                    // At once, after the next rotation, or never.
                    file.compress(random.random_range(1..4)).unwrap();
                    *rotated += 1;
                    self.rotations += 1;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // This sets the pace of the load and waits for nothing.
            tokio::time::sleep(left.min(Duration::from_millis(20))).await;
        }
    }

    /// Waits until the store shows the last line of every file. Earlier lines were acknowledged earlier.
    async fn is_shipped(&mut self, store: &Store) {
        for file in &self.files {
            let Some(last) = file.written.last() else { continue };
            let labels = [LABEL, ("log_file", file.stem)];
            let what = format!("{:?}, the last line of {}, in {}", last, file.stem, store.name());
            let found =
                eventually(&what, PATIENCE, || async { Ok(store.has_line(&labels, last).await?.then_some(())) });
            found.await.unwrap();
        }
        self.rotated.fill(0);
    }

    /// Compares the store with the written lines.
    async fn is_shown(&self, store: &Store) -> Shown {
        let mut all = Shown::default();
        for file in &self.files {
            let stored = store.stored(&[LABEL, ("log_file", file.stem)]).await.unwrap();
            let different = difference(&file.written, &stored.entries);
            assert!(different.is_none(), "{}: {}", file.stem, different.unwrap());
            all.lines += stored.entries.iter().flat_map(Entry::lines).count();
            all.entries += stored.entries.len();
            all.resent += stored.resent;
        }
        assert!(store.faults().is_empty(), "{:#?}", store.faults());
        all
    }
}

/// The content of a store for all files.
#[derive(Default)]
struct Shown {
    lines: usize,
    entries: usize,
    /// More copies of these entries. Loki counts only the copies that it stored.
    resent: u64,
}

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_is_sent_every_line_once_however_often_the_shipper_is_killed() {
    shows_every_line_once(Store::receiver().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victoria_logs_shows_every_line_once_however_often_the_shipper_is_killed() {
    let Some(servers) = Servers::find("survives_kills").unwrap() else { return };
    shows_every_line_once(Store::victoria_logs(&servers.victoria_logs).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_every_line_is_shown_once_however_often_the_shipper_is_killed() {
    let Some(binary) = loki() else { return };
    let loki = Loki::start_with(&binary, Setup { limits: LIMITS, ..Setup::default() }).await.unwrap();
    shows_every_line_once(Store::Loki(Box::new(loki))).await;
}

async fn shows_every_line_once(mut store: Store) {
    let kills = from_env("KILLS").unwrap_or(KILLS);
    let seed = from_env("SEED").unwrap_or_else(rand::random::<u64>);
    harness::say(&format!("{}: {kills} kills, SEED={seed}", store.name()));
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(&dir.path().join("logs"));
    let mut shipper = Shipper::start(dir.path(), &store);
    let _log = KeptLog(shipper.log.clone());
    let (mut outages, started) = (0, Instant::now());

    // Files that were rotated before the shipper's first scan are not shipped, which is no loss.
    for file in &mut writer.files {
        file.write(1).unwrap();
    }
    writer.is_shipped(&store).await;
    for kill in 1..=kills {
        let time = Duration::from_millis(random.random_range(0..250));
        writer.write(time, &mut random).await;
        shipper.kill().await;
        match kill % (2 * CHECK_EVERY) {
            1 => {
                store.stop().await.unwrap();
                outages += 1;
            }
            OUTAGE => {
                // Writes, rotations and kills continue while the store starts.
                let mut back = std::pin::pin!(store.restart());
                loop {
                    tokio::select! {
                        restarted = &mut back => break restarted.unwrap(),
                        () = writer.write(Duration::from_millis(250), &mut random) => shipper.kill().await,
                    }
                }
            }
            _ => {}
        }
        if kill % CHECK_EVERY == 0 {
            writer.is_shipped(&store).await;
            // Early, so that the log still covers a fault.
            writer.is_shown(&store).await;
        }
    }

    writer.write(Duration::from_millis(100), &mut random).await;
    writer.is_shipped(&store).await;
    let written: usize = writer.files.iter().map(|file| file.written.len()).sum();
    let shown = writer.is_shown(&store).await;
    shipper.look();
    harness::say(&format!(
        "{}: {kills} kills, {outages} outages, {} rotations, {} s: {written} lines written, {} shown in {} entries, \
         {} entries resent; peak memory {} KiB, at most {} descriptors",
        store.name(),
        writer.rotations,
        started.elapsed().as_secs(),
        shown.lines,
        shown.entries,
        shown.resent,
        shipper.peak_kib,
        shipper.descriptors
    ));
}

/// Keeps the shipper's log if the test fails.
struct KeptLog(PathBuf);

impl Drop for KeptLog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_log(&self.0);
        }
    }
}
