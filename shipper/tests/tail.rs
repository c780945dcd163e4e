//! The tail on real files in a temporary directory, with a clock of its own: what comes out is compared with what was
//! written.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use globset::Glob;
use jiff::tz::TimeZone;
use proptest::prelude::ProptestConfig;
use redis_log_shipper::decode::decode;
use redis_log_shipper::discover::Discovery;
use redis_log_shipper::labels::Labels;
use redis_log_shipper::metrics::Metrics;
use redis_log_shipper::position::Record;
use redis_log_shipper::tail::{Now, Tail, TailSettings};

/// 2026-02-20 22:31:00 UTC.
const START: i64 = 1_771_626_660_000_000_000;

/// A log directory, a tail that follows it, and what was "pushed": entries of a stream that share time and text are one.
struct World {
    dir: tempfile::TempDir,
    tail: Option<Tail>,
    record: Record,
    now: Now,
    visible: BTreeMap<(String, i64), Vec<String>>,
    written: u64,
    /// Whether `a.log.1` is a renamed file, which may still have a writer, and no copy.
    renamed: bool,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            tail: None,
            record: Record::new(),
            now: Now { instant: Instant::now(), clock: START },
            visible: BTreeMap::new(),
            written: 0,
            renamed: false,
        }
        .restarted()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn restarted(mut self) -> Self {
        self.crash_and_restart();
        self
    }

    /// Whatever was not acknowledged is forgotten.
    fn crash_and_restart(&mut self) {
        self.tail = None;
        let discovery = Discovery::new(self.dir.path().to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
        let settings = TailSettings {
            batch_bytes: 1 << 20,
            batch_wait: Duration::from_secs(1),
            max_line: 4096,
            max_age: Duration::from_hours(168),
            zone: TimeZone::UTC,
            labels: Labels::default(),
        };
        let tail = Tail::resume(discovery, settings, &self.record, Metrics::default(), self.now).unwrap();
        self.record.extend(tail.record());
        self.tail = Some(tail);
    }

    fn pass(&mut self, seconds: u64) {
        let passed = Duration::from_secs(seconds);
        self.now.instant += passed;
        self.now.clock += i64::try_from(passed.as_nanos()).unwrap();
    }

    /// A line as the Python programs write it, numbered, so that no two are alike.
    fn line(&mut self) -> String {
        self.written += 1;
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.now.clock)).unwrap();
        format!("{} INFO line {}\n", at.strftime("%Y-%m-%d %H:%M:%S,%3f"), self.written)
    }

    fn append(&mut self, name: &str, lines: usize) {
        let text: String = (0..lines).map(|_| self.line()).collect();
        self.append_text(name, &text);
    }

    fn append_text(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn make_room(&self, name: &str) {
        for number in (1..99).rev() {
            let from = self.path(&format!("{name}.{number}"));
            if from.exists() {
                std::fs::rename(from, self.path(&format!("{name}.{}", number + 1))).unwrap();
            }
        }
    }

    fn copytruncate(&self, name: &str) {
        self.make_room(name);
        std::fs::copy(self.path(name), self.path(&format!("{name}.1"))).unwrap();
        File::options().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn scan(&mut self) {
        let now = self.now;
        self.tail.as_mut().unwrap().scan(now).unwrap();
    }

    /// Pushes everything that can be pushed; acknowledges it or, as after a crash in between, not.
    fn ship(&mut self, acknowledged: bool) {
        let mut idle = 0;
        while idle < 20 {
            if self.ship_one(acknowledged) {
                if !acknowledged {
                    return;
                }
                idle = 0;
            } else {
                idle += 1;
                self.pass(1);
            }
        }
    }

    /// Looks at the directory and pushes the next batch, if there is one.
    fn ship_one(&mut self, acknowledged: bool) -> bool {
        self.scan();
        self.push_one(acknowledged)
    }

    fn push_one(&mut self, acknowledged: bool) -> bool {
        let Some(batch) = self.tail.as_mut().unwrap().next_batch(self.now, true) else { return false };
        if let Some(before) = batch.before {
            self.record.insert(batch.name.to_string(), before);
        }
        if !batch.body.is_empty() {
            for stream in decode(&batch.body).unwrap() {
                for (time, line) in stream.entries {
                    let at = self.visible.entry((stream.labels.clone(), time)).or_default();
                    if !at.contains(&line) {
                        at.push(line);
                    }
                }
            }
        }
        if acknowledged {
            self.record.insert(batch.name.to_string(), batch.after);
        }
        true
    }

    /// The lines one sees in Loki, without their time stamps.
    fn seen(&self) -> Vec<String> {
        self.visible.values().flatten().map(|line| line.split("INFO ").last().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn assert_every_line_once(&self) {
        let mut seen = self.seen();
        seen.sort_by_key(|line| line.strip_prefix("line ").unwrap().parse::<u64>().unwrap());
        let expected: Vec<String> = (1..=self.written).map(|n| format!("line {n}")).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn ships_what_is_there_and_what_comes() {
    let mut world = World::new();
    world.append("a.log", 3);
    world.ship(true);
    world.append("a.log", 2);
    world.append("b.log", 2);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn holds_a_line_until_it_is_complete() {
    let mut world = World::new();
    let line = world.line();
    let (first, rest) = line.split_at(10);
    world.append_text("a.log", first);
    world.ship(true);
    assert!(world.seen().is_empty());
    world.append_text("a.log", rest);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn drains_a_renamed_file_before_the_new_one() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn sees_several_renames_between_two_looks() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 2);
    world.rename("a.log", "a.log.2");
    world.append("a.log", 2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn follows_a_writer_that_stays_on_the_renamed_file() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log.1", 2);
    world.ship(true);
    world.append("a.log", 1);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn finishes_a_line_that_the_rename_cut_in_two() {
    let mut world = World::new();
    let line = world.line();
    let (first, rest) = line.split_at(30);
    world.append_text("a.log", first);
    world.scan();
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    world.scan();
    world.append_text("a.log.1", rest);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn recovers_the_unread_rest_from_the_copy_after_a_truncation() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn notices_a_truncation_after_which_the_file_regrew_past_the_position() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 1);
    world.copytruncate("a.log");
    world.append("a.log", 50);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn recovers_everything_after_two_truncations_between_two_looks() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 3);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn recovers_a_file_that_was_filled_and_truncated_before_it_was_ever_read() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.copytruncate("a.log");
    world.ship(true);
    world.append("a.log", 3);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn takes_up_where_it_was_after_a_restart() {
    let mut world = World::new();
    world.append("a.log", 3);
    world.ship(true);
    world.append("a.log", 3);
    world.crash_and_restart();
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn finds_its_files_again_after_rotations_while_it_was_down() {
    for rotate in [World::copytruncate as fn(&World, &str), |world, name| world.rename(name, &format!("{name}.1"))] {
        let mut world = World::new();
        world.append("a.log", 3);
        world.ship(true);
        world.append("a.log", 3);
        world.tail = None;
        rotate(&world, "a.log");
        world.append("a.log", 2);
        world.crash_and_restart();
        world.ship(true);
        world.assert_every_line_once();
    }
}

#[test]
fn finds_a_file_that_was_empty_when_it_went_down_and_rotated_twice_since() {
    let mut world = World::new();
    world.append("a.log", 3);
    world.ship(true);
    world.copytruncate("a.log");
    world.ship(true);
    world.tail = None;
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 2);
    world.crash_and_restart();
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn a_resend_after_a_crash_is_identical() {
    // Lines with a time, without one, with one far ahead, and all of that in a file that tells no time at all.
    for text in [
        "2026-02-20 22:31:07,000 INFO line 1\nTraceback INFO line 2\n2999-01-01 00:00:00,000 INFO line 3\n",
        "INFO line 1\nINFO line 2\nINFO line 3\n",
        "==== INFO line 1\n2026-02-20 22:31:07,000 INFO line 2\nINFO line 3\n",
        "2999-01-01 00:00:00,000 INFO line 1\nINFO line 2\n2026-02-20 22:31:07,000 INFO line 3\n",
    ] {
        let mut world = World::new();
        world.append_text("a.log", text);
        world.written = 3;
        for _ in 0..3 {
            world.ship(false);
            world.pass(3600);
            world.crash_and_restart();
        }
        world.ship(true);
        world.assert_every_line_once();
    }
}

#[test]
fn a_resend_after_a_crash_is_identical_across_a_rotation() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 2);
    for _ in 0..6 {
        world.ship(false);
        world.pass(3);
        world.crash_and_restart();
    }
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_a_rotated_file_grew_late() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship(true);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    world.pass(3);
    world.ship(false);
    world.append("a.log.1", 1);
    world.crash_and_restart();
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn puts_lines_before_the_first_time_right_before_it() {
    let mut world = World::new();
    world.append_text("a.log", "==== banner\n2026-02-20 22:30:07,000 INFO line\n");
    world.ship(true);
    let times: Vec<i64> = world.visible.keys().map(|(_, time)| *time).collect();
    assert_eq!(times[1] - times[0], 1);
}

#[test]
fn skips_entries_that_loki_would_reject_for_their_age() {
    let mut world = World::new();
    world.append_text("a.log", "2026-01-01 00:00:00,000 INFO old\n");
    world.append("a.log", 1);
    world.ship(true);
    world.assert_every_line_once();
}

#[test]
fn waits_for_more_lines_only_where_it_has_just_sent_some() {
    let mut world = World::new();
    world.append("a.log", 1);
    world.scan();
    let now = world.now;
    let tail = world.tail.as_mut().unwrap();
    // The first one tells the order of reading, the second one holds the line.
    let first: Vec<_> = std::iter::from_fn(|| tail.next_batch(now, false)).collect();
    assert_eq!(first.iter().map(|batch| batch.entries).sum::<usize>(), 1);
    world.append("a.log", 1);
    world.scan();
    assert!(world.tail.as_mut().unwrap().next_batch(world.now, false).is_none());
    world.pass(1);
    assert_eq!(world.tail.as_mut().unwrap().next_batch(world.now, false).unwrap().entries, 1);
}

/// What can happen to a log file and to the shipper, in any order.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Copytruncate,
    Rename,
    /// A writer that has not noticed the rename writes on.
    AppendLate,
    Scan,
    Pass(u64),
    /// This many batches are acknowledged, with a look at the directory before each.
    Ship(usize),
    /// One batch is made though the directory was not looked at since.
    ShipBlindly,
    /// One more is pushed, and then the shipper dies before it knows.
    Crash,
    /// It dies, and nothing is looked at until the next start.
    Stop,
    Start,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let step = prop_oneof![
        4 => (1..4_usize).prop_map(Step::Append),
        2 => Just(Step::Copytruncate),
        2 => Just(Step::Rename),
        1 => Just(Step::AppendLate),
        2 => Just(Step::Scan),
        2 => (1..4_u64).prop_map(Step::Pass),
        3 => (1..4_usize).prop_map(Step::Ship),
        3 => Just(Step::ShipBlindly),
        2 => Just(Step::Crash),
        1 => Just(Step::Stop),
        1 => Just(Step::Start),
    ];
    proptest::collection::vec(step, 1..40)
}

impl World {
    fn apply(&mut self, step: &Step) {
        let name = "a.log";
        match step {
            Step::Append(lines) => self.append(name, *lines),
            Step::Copytruncate if self.path(name).exists() => {
                self.copytruncate(name);
                self.renamed = false;
            }
            Step::AppendLate if self.renamed => self.append("a.log.1", 1),
            Step::Rename if self.path(name).exists() => {
                self.make_room(name);
                // An empty file that was renamed is not looked after: it tells nothing to know it by.
                self.renamed = std::fs::metadata(self.path(name)).unwrap().len() > 0;
                self.rename(name, "a.log.1");
                self.append_text(name, "");
            }
            Step::Pass(seconds) => self.pass(*seconds),
            Step::Scan if self.tail.is_some() => self.scan(),
            Step::Ship(batches) if self.tail.is_some() => {
                for _ in 0..*batches {
                    self.ship_one(true);
                }
            }
            Step::ShipBlindly if self.tail.is_some() => {
                self.push_one(true);
            }
            Step::Crash if self.tail.is_some() => {
                self.ship_one(false);
                self.crash_and_restart();
            }
            Step::Stop => self.tail = None,
            Step::Start if self.tail.is_none() => self.crash_and_restart(),
            // Nothing to rotate, or nobody to do it.
            _ => {}
        }
    }
}

/// 2,000 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases: 2000, ..default } }
}

proptest::proptest! {
    #![proptest_config(config())]
    #[test]
    fn shows_every_line_once_whatever_happens(steps in steps()) {
        let mut world = World::new();
        // What is rotated away before the shipper ever saw the file belongs to the time before it.
        world.append("a.log", 1);
        world.ship_one(true);
        for step in &steps {
            world.apply(step);
        }
        if world.tail.is_none() {
            world.crash_and_restart();
        }
        world.ship(true);
        world.assert_every_line_once();
    }
}
