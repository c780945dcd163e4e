//! A log directory, a tail that follows it, and a Loki that it is pushed to.
//!
//! The world does what the pipeline does: it makes batches ahead, saves the record before a push that needs it, writes
//! acknowledged positions at once, and syncs them a second later.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use globset::Glob;
use prometheus_client::registry::Registry;
use redis_log_shipper::batch::Batch;
use redis_log_shipper::discover::Discovery;
use redis_log_shipper::metrics::Metrics;
use redis_log_shipper::state::Record;
use redis_log_shipper::tail::{Adjustment, Now, Tail, TailSettings};

pub(crate) use super::loki::Fate;
use super::loki::Loki;

/// 2026-02-20 22:31:00 UTC.
const START: i64 = 1_771_626_660_000_000_000;

/// What a line says that is dropped.
const DROPPED: &str = "dropped";

/// Acknowledged positions are synced at least this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// At most this many batches wait for their acknowledgement.
const MADE: usize = 3;

/// The directory, the tail, Loki, and the clock.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) tail: Option<Tail>,
    pub(crate) loki: Loki,
    /// Unacknowledged batches, oldest first.
    made: VecDeque<Batch>,
    /// The position record that the process has written.
    record: Record,
    /// The position record that is synced.
    saved: Record,
    saved_at: Instant,
    pub(crate) now: Now,
    /// The simulated time since the start.
    passed: Duration,
    pub(crate) written: u64,
    /// The numbers of the lines that Loki rejects.
    rejected: BTreeSet<u64>,
    pub(crate) settings: TailSettings,
    pub(crate) include: &'static str,
    excluded: BTreeSet<&'static str>,
    modified: Cell<u64>,
    registry: Registry,
    metrics: Metrics,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world in which `a.log` has this many lines, all shipped.
    pub(crate) fn with_shipped_lines(lines: usize) -> Self {
        let mut world = Self::new();
        world.append_and_ship("a.log", lines);
        world
    }

    /// A world with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut TailSettings)) -> Self {
        let mut settings = TailSettings { max_line: 4096, ..TailSettings::default() };
        change(&mut settings);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let now = Now { instant: Instant::now(), clock: START };
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            tail: None,
            loki: Loki::new(START),
            made: VecDeque::new(),
            record: Record::new(),
            saved: Record::new(),
            saved_at: now.instant,
            now,
            passed: Duration::ZERO,
            written: 0,
            rejected: BTreeSet::new(),
            settings,
            include: "*.log",
            excluded: BTreeSet::new(),
            modified: Cell::new(0),
            registry,
            metrics,
        };
        world.crash_and_restart();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The shipper dies: what it has not written is lost.
    pub(crate) fn crash(&mut self) {
        self.tail = None;
        self.made.clear();
        self.saved.clone_from(&self.record);
    }

    /// The machine fails: what is not synced is lost.
    pub(crate) fn fail(&mut self) {
        self.record.clone_from(&self.saved);
        self.crash();
    }

    /// The position file is deleted.
    pub(crate) fn forget_positions(&mut self) {
        self.record.clear();
        self.saved.clear();
    }

    /// The streams in the position record.
    pub(crate) fn known(&self) -> Vec<&str> {
        self.record.keys().map(String::as_str).collect()
    }

    /// The volume moves to another node, where it has another device number.
    pub(crate) fn attach_elsewhere(&mut self) {
        for stream in self.saved.values_mut() {
            let rotated = stream.lingering.iter_mut().chain(&mut stream.anchor).chain(&mut stream.beside);
            stream.queue.iter_mut().chain(rotated).for_each(|generation| generation.device += 1);
        }
    }

    pub(crate) fn crash_and_restart(&mut self) {
        self.crash();
        self.start();
    }

    /// Which files the shipper follows.
    fn discovery(&self) -> Discovery {
        let glob = |name: &str| Glob::new(name).unwrap();
        let excluded: Vec<_> = self.excluded.iter().map(|name| glob(name)).collect();
        Discovery::new(self.dir.path().to_owned(), &[glob(self.include)], &excluded).unwrap()
    }

    /// The shipper uses other settings from now on.
    pub(crate) fn adjust(&mut self) {
        let TailSettings { redaction, drop, .. } = self.settings.clone();
        let adjustment = Adjustment { discovery: self.discovery(), redaction, drop };
        if let Some(tail) = &mut self.tail {
            tail.adjust(adjustment);
        }
    }

    /// Follows a file no longer.
    pub(crate) fn exclude(&mut self, name: &'static str) {
        self.excluded.insert(name);
        self.adjust();
    }

    /// Whether the globs choose the file.
    pub(crate) fn follows(&self, name: &str) -> bool {
        !self.excluded.contains(name)
    }

    /// Follows the file again.
    pub(crate) fn include_again(&mut self, name: &str) {
        if self.excluded.remove(name) {
            self.adjust();
        }
    }

    /// The shipper starts with the synced record.
    pub(crate) fn start(&mut self) {
        self.record.clone_from(&self.saved);
        let tail = Tail::resume(self.discovery(), self.settings.clone(), &self.record, self.metrics.clone(), self.now)
            .unwrap();
        self.record.extend(tail.record());
        self.save();
        self.tail = Some(tail);
    }

    fn save(&mut self) {
        self.saved.clone_from(&self.record);
        self.saved_at = self.now.instant;
    }

    fn save_if_overdue(&mut self) {
        if self.now.instant - self.saved_at >= SAVE_INTERVAL {
            self.save();
        }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.pass_time(Duration::from_secs(seconds));
    }

    pub(crate) fn pass_time(&mut self, passed: Duration) {
        self.now.instant += passed;
        self.now.clock += i64::try_from(passed.as_nanos()).unwrap();
        self.loki.pass(passed);
        self.passed += passed;
        if self.tail.is_some() {
            self.save_if_overdue();
        }
    }

    /// The time of a clock that nobody has set.
    pub(crate) fn right_clock(&self) -> i64 {
        START + i64::try_from(self.passed.as_nanos()).unwrap()
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let name = format!("redis_log_shipper_{name}");
        let values = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(&name));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The number of open files in the directory.
    pub(crate) fn descriptors(&self) -> usize {
        let targets =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        targets.filter(|target| target.starts_with(self.dir.path())).count()
    }

    /// A numbered line with a timestamp, as Python programs write it.
    pub(crate) fn line(&mut self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.now.clock)).unwrap();
        format!("{} {}", at.strftime("%Y-%m-%d %H:%M:%S,%3f"), self.untimed_line())
    }

    /// A numbered line without a timestamp.
    pub(crate) fn untimed_line(&mut self) -> String {
        self.written += 1;
        format!("INFO line {}\n", self.written)
    }

    /// A crash report of Redis. One without an end is what a killed process leaves.
    pub(crate) fn report(&mut self, has_end: bool) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.now.clock)).unwrap();
        let stamp = format!("7:M {}", at.strftime("%d %b %Y %H:%M:%S.%3f"));
        let lines = [self.untimed_line(), self.untimed_line(), self.untimed_line()];
        let end = if has_end { "=== REDIS BUG REPORT END. ===\n" } else { "" };
        format!("=== REDIS BUG REPORT START: ===\n{}{stamp} # {}{}{end}", lines[0], lines[1], lines[2])
    }

    /// A line that is an entry, or belongs to one, as the lines beside it say.
    pub(crate) fn object(&mut self) -> String {
        let time = self.now.clock / 1_000_000_000;
        format!("{{\"time\":{time}}} {}", self.untimed_line())
    }

    /// A line that Loki rejects, and one that it stores.
    pub(crate) fn line_that_is(&mut self, rejected: &str) -> String {
        let line = self.line();
        self.rejected.insert(self.written);
        format!("{} {rejected}\n{}", line.trim_end(), self.line())
    }

    /// A line that the rule `level=debug` drops, and one that is shipped.
    pub(crate) fn dropped_line(&mut self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.now.clock)).unwrap();
        format!("{} DEBUG {DROPPED}\n{}", at.strftime("%Y-%m-%d %H:%M:%S,%3f"), self.line())
    }

    pub(crate) fn lines(&mut self, lines: usize) -> String {
        (0..lines).map(|_| self.line()).collect()
    }

    pub(crate) fn append(&mut self, name: &str, lines: usize) {
        let text = self.lines(lines);
        self.append_text(name, &text);
    }

    pub(crate) fn append_and_ship(&mut self, name: &str, lines: usize) {
        self.append(name, lines);
        self.ship();
    }

    pub(crate) fn append_text(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
        self.touch(&file);
    }

    /// Sets the modification time to now, but later than that of every other file.
    fn touch(&self, file: &File) {
        let now = u64::try_from(self.now.clock).unwrap().max(self.modified.get() + 1);
        self.modified.set(now);
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(now)).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Renames the rotated files of `name`: each number grows by one.
    pub(crate) fn make_room(&self, name: &str) {
        for (number, ending) in (1..99).rev().flat_map(|number| [(number, ""), (number, ".gz")]) {
            let from = self.path(&format!("{name}.{number}{ending}"));
            if from.exists() {
                std::fs::rename(from, self.path(&format!("{name}.{}{ending}", number + 1))).unwrap();
            }
        }
    }

    pub(crate) fn copytruncate(&self, name: &str) {
        self.make_room(name);
        self.copy(name, &format!("{name}.1"));
        self.truncate(name);
    }

    pub(crate) fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
        self.touch(&File::options().write(true).open(self.path(to)).unwrap());
    }

    pub(crate) fn truncate(&self, name: &str) {
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_len(0).unwrap();
        self.touch(&file);
    }

    pub(crate) fn rotate_by_rename(&self, name: &str) {
        self.make_room(name);
        self.rename(name, &format!("{name}.1"));
    }

    /// Compresses a file as logrotate does: it deletes the original last.
    pub(crate) fn gzip(&self, name: &str) {
        let compressed = File::create(self.path(&format!("{name}.gz"))).unwrap();
        let mut gzip = GzEncoder::new(compressed, Compression::fast());
        gzip.write_all(&std::fs::read(self.path(name)).unwrap()).unwrap();
        let modified = std::fs::metadata(self.path(name)).unwrap().modified().unwrap();
        gzip.finish().unwrap().set_modified(modified).unwrap();
        self.delete(name);
    }

    pub(crate) fn scan(&mut self) {
        let now = self.now;
        self.tail.as_mut().unwrap().scan(now).unwrap();
    }

    /// Pushes everything that can be pushed. If `fate` is not `Acknowledged`, pushes one batch.
    pub(crate) fn ship_with(&mut self, fate: Fate) {
        let mut idle = 0;
        while idle < 20 {
            if self.ship_one(fate) {
                if fate != Fate::Acknowledged {
                    return;
                }
                idle = 0;
            } else {
                idle += 1;
                self.pass(1);
            }
        }
    }

    /// Pushes everything that can be pushed. Loki acknowledges all of it.
    pub(crate) fn ship(&mut self) {
        self.ship_with(Fate::Acknowledged);
    }

    /// Scans the directory and pushes the next batch. Returns `false` if there is none.
    pub(crate) fn ship_one(&mut self, fate: Fate) -> bool {
        self.scan();
        self.push_one(fate)
    }

    /// Makes one more batch before the earlier ones are acknowledged. Returns `false` if there is none, or too many wait.
    pub(crate) fn make_one(&mut self) -> bool {
        if self.made.len() < MADE
            && let Some(batch) = self.tail.as_mut().unwrap().next_batch(self.now, true)
        {
            self.made.push_back(batch);
            return true;
        }
        false
    }

    /// Pushes the next batch. Returns `false` if there is none. If `fate` is not `Acknowledged`, the caller must restart the
    /// shipper.
    pub(crate) fn push_one(&mut self, fate: Fate) -> bool {
        if self.made.is_empty() && !self.make_one() {
            return false;
        }
        let batch = self.made.pop_front().unwrap();
        if !batch.before.is_empty() {
            self.record.extend(batch.before);
            self.save();
        }
        if !batch.body.is_empty() && !self.loki.push(&batch.body, batch.entries, fate) {
            return true;
        }
        match batch.after {
            Some(after) => drop(self.record.insert(batch.name.to_string(), after)),
            None => drop(self.record.remove(&*batch.name)),
        }
        self.save_if_overdue();
        true
    }

    /// The visible lines in Loki, without timestamps and banners.
    pub(crate) fn seen(&self) -> Vec<String> {
        let entries = self.entries();
        let is_banner = |line: &str| line.bytes().all(|byte| byte == b'=') || line.starts_with("=== REDIS");
        // A crash report may hold a line that is dropped where it is an entry.
        let is_ours = |line: &&str| !is_banner(line) && !line.ends_with(DROPPED);
        let lines = entries.iter().flat_map(|entry| entry.lines()).filter(is_ours);
        lines.map(|line| line.split("INFO ").last().unwrap().to_owned()).collect()
    }

    /// The visible entries in Loki, by stream and time.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.loki.shows().into_values().flatten().collect()
    }

    /// The times of the visible entries.
    pub(crate) fn times(&self) -> Vec<i64> {
        self.loki.shows().into_keys().map(|(_, time)| time).collect()
    }

    /// The times of the lines, in the order of their numbers.
    pub(crate) fn times_of_lines(&self) -> Vec<i64> {
        let shown = self.loki.shows();
        let lines = shown.iter().flat_map(|((_, time), texts)| texts.iter().map(move |text| (text, *time)));
        // An entry of more lines counts by its last line with a number: a crash report ends with none.
        let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        let numbered = lines.filter_map(|(text, time)| Some((text.lines().rev().find_map(number)?, time)));
        let by_number: std::collections::BTreeMap<_, _> = numbered.collect();
        by_number.into_values().collect()
    }

    /// Whether Loki shows every written line that it does not reject.
    pub(crate) fn shows_everything(&self) -> bool {
        self.seen().len() == self.expected().len()
    }

    /// Ships everything, then Loki shows every line once.
    #[track_caller]
    pub(crate) fn assert_ships_every_line_once(&mut self) {
        self.ship();
        self.assert_every_line_once();
    }

    /// Ships everything, then Loki shows every line once, in the order in which they were written.
    #[track_caller]
    pub(crate) fn assert_ships_every_line_once_in_order(&mut self) {
        self.ship();
        self.assert_every_line_once_in_order();
    }

    #[track_caller]
    pub(crate) fn assert_every_line_once(&self) {
        let mut seen = self.seen();
        seen.sort_by_key(|line| line.strip_prefix("line ").unwrap().parse::<u64>().unwrap());
        assert_eq!(seen, self.expected());
    }

    #[track_caller]
    pub(crate) fn assert_every_line_once_in_order(&self) {
        assert_eq!(self.seen(), self.expected());
    }

    #[track_caller]
    pub(crate) fn assert_shows_no_dropped_entry(&self) {
        let is_dropped = |entry: &String| entry.lines().next().is_some_and(|line| line.ends_with(DROPPED));
        assert!(!self.entries().iter().any(is_dropped), "{:?}", self.entries());
    }

    fn expected(&self) -> Vec<String> {
        let shown = (1..=self.written).filter(|n| !self.rejected.contains(n));
        shown.map(|n| format!("line {n}")).collect()
    }
}
