//! Anything in any order, compared with what must be visible: every line, once.
//!
//! What nobody could ship is not done: a file is only truncated without a copy, or deleted for good, once it is shipped.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::world::{Fate, World};

const FILE: &str = "a.log";
const ROTATED: &str = "a.log.1";
const SECOND_NAME: &str = "b.log";

/// What can happen to a log file and to the shipper.
#[derive(Clone, Debug)]
enum Step {
    /// So many lines with a time.
    Append(usize),
    /// A line that continues the one before it.
    Continue,
    /// A line but for its end, which is the next thing that is written. (Of less, the next file may begin with the same.)
    Half,
    Copytruncate,
    Rename,
    /// A writer that has not noticed the rename writes on.
    AppendLate,
    /// The youngest rotated file is compressed.
    Gzip,
    /// The file is copied, and the copy takes its place.
    Rewrite,
    /// Nothing of it is kept.
    Truncate,
    Delete,
    /// The file gets a second name that the globs choose, until it is rotated.
    Link,
    /// The clock is set, by so many seconds.
    SetClock(i64),
    Scan,
    Pass(u64),
    /// This many batches are acknowledged, with a look at the directory before each.
    Ship(usize),
    /// One batch is made though the directory was not looked at since.
    ShipBlindly,
    /// One more is pushed, stored or not, and then the shipper dies before it knows.
    Crash(Fate),
    /// It dies, and nothing is looked at until the next start.
    Stop,
    Start,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..4_usize).prop_map(Step::Append),
        1 => Just(Step::Continue),
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
        3 => Just(Step::Scan),
        3 => (1..4_u64).prop_map(Step::Pass),
        4 => (1..4_usize).prop_map(Step::Ship),
        4 => Just(Step::ShipBlindly),
        3 => prop_oneof![Just(Fate::Stored), Just(Fate::Lost)].prop_map(Step::Crash),
        1 => Just(Step::Stop),
        1 => Just(Step::Start),
    ];
    proptest::collection::vec(step, 1..40)
}

struct Model {
    world: World,
    /// The rest of a line that is half written.
    half: Option<String>,
    /// Whether the youngest rotated file is a renamed one, which may still have a writer.
    late: bool,
    /// Whether that one was empty when it was renamed: while we are down it is known by its inode alone.
    renamed_empty: bool,
    /// Whether lines may be left in a file that has no name any more, and would end with us.
    fragile: bool,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        // What is rotated away before the shipper ever saw the file belongs to the time before it.
        world.append(FILE, 1);
        world.ship();
        Self { world, half: None, late: false, renamed_empty: false, fragile: false }
    }

    fn apply(&mut self, step: &Step) {
        let exists = self.world.path(FILE).exists();
        let runs = self.world.tail.is_some();
        match step {
            Step::Append(lines) => {
                self.finish_line(FILE);
                self.world.append(FILE, *lines);
            }
            Step::Continue => {
                self.finish_line(FILE);
                let line = self.world.untimed_line();
                self.world.append_text(FILE, line);
            }
            Step::Half if self.half.is_none() => {
                let line = self.world.line();
                let (first, rest) = line.split_at(line.len() - 1);
                self.world.append_text(FILE, first);
                self.half = Some(rest.to_owned());
            }
            Step::Copytruncate if exists => {
                self.before_rotation();
                self.finish_line(FILE);
                self.world.copytruncate(FILE);
                self.late = false;
            }
            Step::Rename if exists => {
                self.before_rotation();
                self.renamed_empty = std::fs::metadata(self.world.path(FILE)).unwrap().len() == 0;
                self.world.rotate_by_rename(FILE);
                self.finish_line(ROTATED);
                self.late = true;
                self.world.append_text(FILE, "");
            }
            Step::AppendLate if self.late => self.world.append(ROTATED, 1),
            Step::Gzip if self.world.path(ROTATED).exists() && !(self.late && self.renamed_empty) => {
                self.late = false;
                self.world.gzip(ROTATED);
            }
            Step::Rewrite if exists => {
                self.before_rotation();
                self.world.copy(FILE, "a.tmp");
                self.world.rename("a.tmp", FILE);
            }
            Step::Truncate if exists && runs => {
                self.before_rotation();
                self.finish_line(FILE);
                self.world.ship();
                self.world.truncate(FILE);
            }
            Step::Delete if exists && runs => {
                self.before_rotation();
                self.finish_line(FILE);
                self.world.scan();
                self.fragile = true;
                self.world.delete(FILE);
            }
            Step::Link if exists && !self.world.path(SECOND_NAME).exists() => {
                std::fs::hard_link(self.world.path(FILE), self.world.path(SECOND_NAME)).unwrap();
            }
            Step::SetClock(seconds) => self.world.now.clock += seconds * 1_000_000_000,
            Step::Pass(seconds) => self.world.pass(*seconds),
            Step::Scan if runs => self.world.scan(),
            Step::Ship(batches) if runs => {
                for _ in 0..*batches {
                    self.world.ship_one(Fate::Acknowledged);
                }
            }
            Step::ShipBlindly if runs => {
                self.world.push_one(Fate::Acknowledged);
            }
            Step::Crash(fate) if runs => {
                self.save_the_fragile();
                self.world.ship_one(*fate);
                self.world.crash_and_restart();
            }
            Step::Stop if runs => {
                self.save_the_fragile();
                self.world.tail = None;
            }
            Step::Start if !runs => self.world.crash_and_restart(),
            // Nothing to do it to, or nobody to do it.
            _ => {}
        }
    }

    fn finish_line(&mut self, name: &str) {
        if let Some(rest) = self.half.take() {
            self.world.append_text(name, rest);
        }
    }

    fn before_rotation(&mut self) {
        if self.world.path(SECOND_NAME).exists() {
            self.world.delete(SECOND_NAME);
        }
    }

    fn save_the_fragile(&mut self) {
        if std::mem::take(&mut self.fragile) {
            self.world.ship();
        }
    }

    fn end(mut self) -> World {
        self.finish_line(FILE);
        if self.world.tail.is_none() {
            self.world.crash_and_restart();
        }
        self.world.ship();
        self.world
    }
}

fn run(steps: &[Step]) -> World {
    let mut model = Model::new();
    for step in steps {
        model.apply(step);
    }
    model.end()
}

/// The same 2,000 cases every time, so that a change is judged by itself; new ones, as many as `PROPTEST_CASES` says, where
/// that is set.
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
        run(&steps).assert_every_line_once();
    }
}

/// What went wrong once. A sequence that the model finds goes here.
const FOUND: &[&[Step]] = &[
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
fn shows_every_line_once_where_that_went_wrong_once() {
    for steps in FOUND {
        eprintln!("{steps:?}");
        run(steps).assert_every_line_once();
    }
}
