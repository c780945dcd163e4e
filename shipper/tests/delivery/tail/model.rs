//! The model test: random steps in random order. Afterwards every line that Loki does not reject must be visible once.
//!
//! Some steps destroy lines that nobody can ship. So a file is truncated without a copy, or deleted for good, only after it
//! is shipped.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use redis_log_shipper::drop;

use super::loki::{Fate, POISON, REJECTED, Whim};
use super::world::World;

/// What can happen to a log file.
#[derive(Clone, Debug)]
enum Step {
    /// Appends this many lines with a timestamp.
    Append(usize),
    /// Appends a line that continues the line before it.
    Continue,
    /// Appends a crash report, with its end or without.
    Report(bool),
    /// Appends this many lines that may be part of the entry before them.
    Objects(usize),
    /// Appends a line that Loki rejects or refuses, and then one that it stores.
    AppendRefused(&'static str),
    /// Appends a line that a rule drops, and then one that is shipped.
    AppendDropped,
    /// Appends a line without its line ending, which the next write adds. (With a shorter part, the next file could begin with
    /// the same bytes.)
    Half,
    Copytruncate,
    Rename,
    /// A writer that has not noticed the rename appends a line.
    AppendLate,
    /// Compresses the youngest rotated file.
    Gzip,
    /// Copies the file, and renames the copy to its name.
    Rewrite,
    /// Truncates the file without a copy.
    Truncate,
    Delete,
    /// Gives the file a second name that the globs match, until it is rotated.
    Link,
    /// Sets the clock by this many seconds.
    SetClock(i64),
    Scan,
    Pass(u64),
    /// Pushes this many batches, each after a scan.
    Ship(usize),
    /// Pushes one batch without a scan.
    ShipBlindly,
    /// Makes one more batch while earlier ones wait for their acknowledgement.
    Make,
    /// Adds a whim of Loki or of a proxy before it.
    Expect(Whim),
    /// Pushes one more batch, stored or not. The shipper dies before the answer, and starts again.
    Crash(Fate),
    /// The same, but the machine fails: what is not synced is lost.
    Fail(Fate),
    /// The machine fails, and the shipper stays down.
    Stop,
    /// Pushes one more batch, stored or not. The shipper dies before the answer, and stays down.
    Die(Fate),
    /// Starts the shipper if it is down.
    Start,
    /// Stops following the file.
    Exclude,
    /// Follows the file again.
    Include,
}

/// Random steps, each with the index of its file.
fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let whim = prop_oneof![
        2 => Just(Whim::None),
        3 => proptest::sample::select(&[260, 302, 401, 403, 404, 408, 422, 500, 503][..]).prop_map(Whim::Refuses),
        1 => Just(Whim::Throttles),
        2 => Just(Whim::TooLarge),
        1 => Just(Whim::NoMetadata),
        2 => Just(Whim::Silent),
        1 => Just(Whim::Resets),
        1 => Just(Whim::Hangs),
    ];
    let fate = prop_oneof![Just(Fate::Stored), Just(Fate::Lost)];
    let step = prop_oneof![
        6 => (1..4_usize).prop_map(Step::Append),
        1 => Just(Step::Continue),
        1 => any::<bool>().prop_map(Step::Report),
        1 => (1..5_usize).prop_map(Step::Objects),
        1 => proptest::sample::select(&[REJECTED, POISON][..]).prop_map(Step::AppendRefused),
        1 => Just(Step::AppendDropped),
        1 => Just(Step::Half),
        3 => Just(Step::Copytruncate),
        3 => Just(Step::Rename),
        1 => Just(Step::AppendLate),
        2 => Just(Step::Gzip),
        1 => Just(Step::Rewrite),
        1 => Just(Step::Truncate),
        1 => Just(Step::Delete),
        1 => Just(Step::Link),
        1 => (-4000..4000_i64).prop_map(Step::SetClock),
        1 => (600..90_000_i64).prop_map(Step::SetClock),
        3 => Just(Step::Scan),
        3 => (1..4_u64).prop_map(Step::Pass),
        4 => (1..4_usize).prop_map(Step::Ship),
        4 => Just(Step::ShipBlindly),
        2 => Just(Step::Make),
        3 => whim.prop_map(Step::Expect),
        2 => fate.clone().prop_map(Step::Crash),
        2 => fate.clone().prop_map(Step::Fail),
        1 => Just(Step::Stop),
        1 => fate.prop_map(Step::Die),
        1 => Just(Step::Start),
        1 => Just(Step::Exclude),
        1 => Just(Step::Include),
    ];
    let file = prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    proptest::collection::vec((file, step), 1..40)
}

/// One log file and its other names.
struct File {
    name: &'static str,
    rotated: &'static str,
    second_name: &'static str,
    /// The rest of an unfinished line.
    half: Option<String>,
    /// When the youngest rotated file was renamed. `None` if it cannot have a writer.
    late: Option<Instant>,
    /// Whether that file was empty when it was renamed. During a downtime only its inode identifies it.
    renamed_empty: bool,
}

impl File {
    fn new(name: &'static str, rotated: &'static str, second_name: &'static str) -> Self {
        Self { name, rotated, second_name, half: None, late: None, renamed_empty: false }
    }

    fn exists(&self, world: &World) -> bool {
        world.path(self.name).exists()
    }

    /// The shipper keeps a renamed file open for one minute.
    fn has_a_late_writer(&self, world: &World) -> bool {
        self.late.is_some_and(|renamed| world.now.instant - renamed < Duration::from_secs(58))
    }

    fn finish_line(&mut self, name: &str, world: &World) {
        if let Some(rest) = self.half.take() {
            world.append_text(name, rest);
        }
    }

    fn before_rotation(&self, world: &World) {
        if world.path(self.second_name).exists() {
            world.delete(self.second_name);
        }
    }

    /// Does a step that concerns only the file.
    fn apply(&mut self, step: &Step, world: &mut World) {
        match step {
            Step::Append(lines) => {
                self.finish_line(self.name, world);
                world.append(self.name, *lines);
            }
            Step::Continue => {
                self.finish_line(self.name, world);
                let line = world.untimed_line();
                world.append_text(self.name, line);
            }
            Step::Report(has_end) => {
                self.finish_line(self.name, world);
                let report = world.report(*has_end);
                world.append_text(self.name, report);
            }
            Step::Objects(lines) => {
                self.finish_line(self.name, world);
                let objects: String = (0..*lines).map(|_| world.object()).collect();
                world.append_text(self.name, objects);
            }
            Step::AppendRefused(how) => {
                self.finish_line(self.name, world);
                let lines = world.line_that_is(how);
                world.append_text(self.name, lines);
            }
            Step::AppendDropped => {
                self.finish_line(self.name, world);
                let lines = world.dropped_line();
                world.append_text(self.name, lines);
            }
            Step::Half if self.half.is_none() => {
                let line = world.line();
                let (first, rest) = line.split_at(line.len() - 1);
                world.append_text(self.name, first);
                self.half = Some(rest.to_owned());
            }
            Step::Copytruncate if self.exists(world) => {
                self.before_rotation(world);
                self.finish_line(self.name, world);
                world.copytruncate(self.name);
                self.late = None;
            }
            Step::Rename if self.exists(world) => {
                self.before_rotation(world);
                self.renamed_empty = std::fs::metadata(world.path(self.name)).unwrap().len() == 0;
                world.rotate_by_rename(self.name);
                self.finish_line(self.rotated, world);
                self.late = Some(world.now.instant);
                world.append_text(self.name, "");
            }
            Step::AppendLate if self.has_a_late_writer(world) => world.append(self.rotated, 1),
            Step::Gzip if world.path(self.rotated).exists() && !(self.late.is_some() && self.renamed_empty) => {
                self.late = None;
                world.gzip(self.rotated);
            }
            Step::Rewrite if self.exists(world) => {
                self.before_rotation(world);
                world.copy(self.name, "tmp");
                world.rename("tmp", self.name);
            }
            Step::Link if self.exists(world) && world.follows(self.name) && !world.path(self.second_name).exists() => {
                std::fs::hard_link(world.path(self.name), world.path(self.second_name)).unwrap();
            }
            // The step is not possible now.
            _ => {}
        }
    }
}

struct Model {
    world: World,
    files: [File; 2],
    /// Whether a deleted file may hold unread lines, which are lost if the shipper dies.
    fragile: bool,
}

impl Model {
    fn new() -> Self {
        let mut world = World::with(|settings| settings.drop = drop::parse(&["level=debug".to_owned()]).unwrap());
        let files = [File::new("a.log", "a.log.1", "b.log"), File::new("c.log", "c.log.1", "d.log")];
        // The shipper does not ship files that were rotated before it first saw the live file.
        for file in &files {
            world.append(file.name, 1);
        }
        world.ship();
        Self { world, files, fragile: false }
    }

    fn apply(&mut self, file: usize, step: &Step) {
        let (file, world) = (self.files.get_mut(file).unwrap(), &mut self.world);
        let (exists, runs) = (file.exists(world), world.tail.is_some());
        match step {
            Step::SetClock(seconds) => world.now.clock += seconds * 1_000_000_000,
            Step::Pass(seconds) => world.pass(*seconds),
            Step::Expect(whim) => world.loki.expect(*whim),
            Step::Start if !runs => world.start(),
            Step::Exclude if runs => {
                let name = file.name;
                // Its second name would be followed as a file of its own.
                file.before_rotation(world);
                self.save_the_fragile();
                self.world.exclude(name);
            }
            Step::Include if runs => world.include_again(file.name),
            Step::Truncate if exists && runs => {
                world.include_again(file.name);
                file.before_rotation(world);
                file.finish_line(file.name, world);
                world.ship();
                // The last line is acknowledged, but the position is not synced yet.
                world.append(file.name, 1);
                world.pass_time(Duration::from_millis(200));
                world.ship_one(Fate::Acknowledged);
                if !world.shows_everything() {
                    world.ship();
                }
                world.truncate(file.name);
            }
            Step::Delete if exists && runs => {
                world.include_again(file.name);
                file.before_rotation(world);
                file.finish_line(file.name, world);
                world.scan();
                self.fragile = true;
                world.delete(file.name);
            }
            Step::Scan if runs => world.scan(),
            Step::Ship(batches) if runs => {
                for _ in 0..*batches {
                    world.ship_one(Fate::Acknowledged);
                }
            }
            Step::ShipBlindly if runs => {
                world.push_one(Fate::Acknowledged);
            }
            Step::Make if runs => {
                world.make_one();
            }
            Step::Crash(fate) if runs => {
                self.save_the_fragile();
                self.world.ship_one(*fate);
                self.world.crash_and_restart();
            }
            Step::Fail(fate) if runs => {
                self.save_the_fragile();
                self.world.ship_one(*fate);
                self.world.fail();
                self.world.start();
            }
            Step::Die(fate) if runs => {
                self.save_the_fragile();
                self.world.ship_one(*fate);
                self.world.crash();
            }
            Step::Stop if runs => {
                self.save_the_fragile();
                self.world.fail();
            }
            step => file.apply(step, world),
        }
    }

    fn save_the_fragile(&mut self) {
        if std::mem::take(&mut self.fragile) && !self.world.shows_everything() {
            self.world.ship();
        }
    }

    /// Ships everything, and checks that every line is visible once.
    fn end(mut self) {
        for file in &mut self.files {
            file.finish_line(file.name, &self.world);
        }
        if self.world.tail.is_none() {
            self.world.start();
        }
        for file in &self.files {
            self.world.include_again(file.name);
        }
        self.world.ship();
        self.world.assert_every_line_once();
        self.world.assert_shows_no_dropped_entry();
        self.assert_the_clock_is_right_again();
    }

    /// Checks that new lines get right times once the clock is right.
    fn assert_the_clock_is_right_again(&mut self) {
        self.world.now.clock = self.world.right_clock();
        for file in &self.files {
            self.world.append(file.name, 1);
        }
        self.world.ship();
        let latest = self.world.right_clock() + 600_000_000_000;
        let times = self.world.times_of_lines();
        let mut last = times.iter().rev().take(self.files.len());
        assert!(last.all(|time| *time <= latest), "{times:?}, {latest}");
    }
}

fn run(steps: &[(usize, Step)]) {
    let mut model = Model::new();
    for (file, step) in steps {
        model.apply(*file, step);
    }
    model.end();
}

/// The same 2,000 cases every time, so that a failure comes from the change. With `PROPTEST_CASES` set, as many new cases.
fn config() -> ProptestConfig {
    let new = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return new;
    }
    ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(20), ..new }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn shows_every_line_once_whatever_happens(steps in steps()) {
        run(&steps);
    }
}

/// Step sequences with two files that failed once.
const FOUND_WITH_TWO: &[&[(usize, Step)]] = &[
    &[
        (0, Step::Append(1)),
        (0, Step::Rename),
        (0, Step::Scan),
        (0, Step::Link),
        (0, Step::Rename),
        (0, Step::Pass(1)),
        (0, Step::Append(1)),
        (1, Step::Copytruncate),
        (0, Step::Ship(3)),
        (0, Step::Append(1)),
        (0, Step::AppendLate),
        (0, Step::Make),
        (0, Step::Crash(Fate::Stored)),
        (0, Step::Copytruncate),
        (0, Step::Ship(1)),
        (0, Step::ShipBlindly),
        (0, Step::Copytruncate),
    ],
    &[
        (1, Step::Copytruncate),
        (1, Step::Rename),
        (0, Step::Truncate),
        (1, Step::AppendLate),
        (0, Step::Append(1)),
        (0, Step::Truncate),
        (0, Step::Append(1)),
    ],
];

/// Step sequences that failed once. Add a sequence that the model finds here.
const FOUND: &[&[Step]] = &[
    &[
        Step::AppendRefused(REJECTED),
        Step::SetClock(-621),
        Step::Ship(1),
        Step::SetClock(600),
        Step::Pass(1),
        Step::Ship(1),
        Step::Fail(Fate::Stored),
        Step::Append(1),
    ],
    &[Step::Copytruncate, Step::Rename, Step::Append(2), Step::Ship(1), Step::Stop, Step::AppendLate],
    &[
        Step::Truncate,
        Step::Continue,
        Step::Ship(1),
        Step::Pass(1),
        Step::Ship(1),
        Step::Continue,
        Step::Rewrite,
        Step::Ship(1),
        Step::Fail(Fate::Stored),
    ],
    &[Step::Copytruncate, Step::Append(1), Step::Ship(1), Step::Gzip, Step::Copytruncate, Step::Truncate],
    &[Step::Copytruncate, Step::Rename, Step::Crash(Fate::Stored), Step::AppendLate, Step::Truncate, Step::Truncate],
    &[
        Step::Copytruncate,
        Step::Append(1),
        Step::Delete,
        Step::Ship(1),
        Step::Gzip,
        Step::Append(1),
        Step::Rename,
        Step::Append(1),
    ],
    &[Step::Copytruncate, Step::Ship(1), Step::Append(1), Step::Rename],
    &[Step::Delete, Step::Append(1), Step::Copytruncate],
    &[Step::Delete, Step::Append(1), Step::Truncate, Step::Append(1), Step::Copytruncate],
    &[Step::Copytruncate, Step::Crash(Fate::Stored), Step::Append(1), Step::Rewrite],
    &[Step::Copytruncate, Step::Rename, Step::Append(1), Step::Ship(1), Step::AppendLate],
    &[Step::Half, Step::Rewrite, Step::Copytruncate],
    &[Step::Copytruncate, Step::Append(1), Step::Delete, Step::Gzip],
    &[Step::Copytruncate, Step::Ship(1), Step::Append(1), Step::Rename, Step::Gzip],
    &[Step::Rename, Step::Link, Step::Ship(1), Step::Append(1), Step::Rename],
    &[Step::Copytruncate, Step::Delete, Step::ShipBlindly, Step::Gzip, Step::Append(1), Step::Rename],
    &[Step::Truncate, Step::Half, Step::Ship(1), Step::Copytruncate, Step::Half, Step::Append(1)],
    &[Step::Copytruncate, Step::Append(1), Step::Delete, Step::Append(1), Step::Truncate, Step::Crash(Fate::Stored)],
    &[Step::Rename, Step::Rename, Step::Append(1), Step::Crash(Fate::Stored), Step::AppendLate],
    &[Step::Rename, Step::SetClock(39), Step::Crash(Fate::Stored), Step::AppendLate],
    &[Step::Append(1), Step::Append(1), Step::Append(1), Step::Crash(Fate::Stored), Step::SetClock(-601)],
    &[
        Step::Copytruncate,
        Step::Copytruncate,
        Step::Append(1),
        Step::Crash(Fate::Stored),
        Step::Stop,
        Step::Gzip,
        Step::Copytruncate,
    ],
    &[Step::Copytruncate, Step::Rename, Step::Ship(1), Step::AppendLate, Step::Gzip, Step::Append(1)],
    &[Step::Copytruncate, Step::Rename, Step::Link, Step::Append(1)],
    &[Step::Rewrite, Step::Rename, Step::Truncate, Step::AppendLate],
    &[Step::Delete, Step::Append(1), Step::Truncate, Step::Rename, Step::AppendLate],
    &[Step::Copytruncate, Step::Append(1), Step::Delete, Step::Append(1), Step::Delete, Step::Crash(Fate::Stored)],
    &[Step::Rename, Step::Truncate, Step::Stop, Step::AppendLate, Step::Gzip],
    &[
        Step::Truncate,
        Step::Append(1),
        Step::Copytruncate,
        Step::Half,
        Step::Crash(Fate::Stored),
        Step::Rewrite,
        Step::Crash(Fate::Stored),
    ],
    &[
        Step::Rename,
        Step::Append(1),
        Step::Crash(Fate::Stored),
        Step::AppendLate,
        Step::Copytruncate,
        Step::Append(1),
        Step::Truncate,
    ],
    &[Step::Append(1), Step::Rewrite, Step::Rename, Step::Crash(Fate::Stored), Step::Rewrite, Step::AppendLate],
    &[
        Step::Copytruncate,
        Step::Copytruncate,
        Step::Append(2),
        Step::Ship(1),
        Step::Stop,
        Step::Rewrite,
        Step::Gzip,
        Step::Copytruncate,
    ],
    &[Step::Copytruncate, Step::Delete, Step::Append(1), Step::Stop, Step::Gzip],
    &[Step::Half, Step::Rewrite, Step::Rename, Step::Append(1), Step::Truncate, Step::AppendLate],
    &[Step::Rename, Step::Ship(1), Step::AppendLate, Step::Gzip, Step::Ship(1), Step::Crash(Fate::Stored)],
    &[
        Step::Copytruncate,
        Step::Copytruncate,
        Step::Append(1),
        Step::Delete,
        Step::Append(1),
        Step::Stop,
        Step::Gzip,
        Step::Copytruncate,
    ],
    &[Step::Rewrite, Step::Rename, Step::Crash(Fate::Stored), Step::Rewrite, Step::Append(1), Step::AppendLate],
    &[
        Step::Delete,
        Step::Append(1),
        Step::Crash(Fate::Stored),
        Step::Append(1),
        Step::Rename,
        Step::Crash(Fate::Stored),
        Step::Gzip,
        Step::Crash(Fate::Stored),
    ],
];

#[test]
fn shows_every_line_once_in_sequences_that_failed_once() {
    let with_one = FOUND.iter().map(|steps| steps.iter().map(|step| (0, step.clone())).collect::<Vec<_>>());
    let with_two = FOUND_WITH_TWO.iter().map(|steps| steps.to_vec());
    for steps in with_one.chain(with_two) {
        let fails = |step: &Step| if let Step::Crash(fate) = step { Step::Fail(*fate) } else { step.clone() };
        let failing: Vec<_> = steps.iter().map(|(file, step)| (*file, fails(step))).collect();
        for steps in [steps, failing] {
            eprintln!("{steps:?}");
            run(&steps);
        }
    }
}
