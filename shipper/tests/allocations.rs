//! The memory that following files takes: no allocation for an entry, and no more after a hundred rotations than after ten.
//!
//! The allocator counts for the whole process, so this program has one test only.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

use globset::Glob;
use prometheus_client::registry::Registry;
use redis_log_shipper::discover::Discovery;
use redis_log_shipper::metrics::Metrics;
use redis_log_shipper::state::Record;
use redis_log_shipper::tail::{Now, Tail, TailSettings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// 2026-02-20 22:31:00 UTC.
const START: i64 = 1_771_626_660_000_000_000;

/// Lines as Redis Enterprise's programs write them: a timestamp, a level, sometimes a traceback.
const TEXTS: [&str; 4] = [
    "12) 2026-02-20 22:30:04.076 [1644] INF dmc.conn (accept@listener.cpp:118) - bdb:1 client N connected\n",
    "2026-02-20 22:30:07,000 ERROR cnm_http: Unhandled exception N\nTraceback (most recent call last):\n  File \"x.py\", line 1\n",
    "17:M 20 Feb 2026 22:30:08.123 * Background saving started by pid N\n",
    "time=\"2026-02-20T22:30:09Z\" level=info msg=\"Starting exporter N\"\n",
];

/// A directory with one log file, and a tail that follows it.
struct World {
    dir: tempfile::TempDir,
    tail: Tail,
    now: Now,
    written: usize,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = TailSettings::default();
        let discovery = Discovery::new(dir.path().to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
        let now = Now { instant: Instant::now(), clock: START };
        let metrics = Metrics::register(&mut Registry::default());
        let tail = Tail::resume(discovery, settings, &Record::new(), metrics, now).unwrap();
        Self { dir, tail, now, written: 0 }
    }

    fn append(&mut self, entries: usize) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.dir.path().join("a.log")).unwrap();
        for text in TEXTS.iter().cycle().take(entries) {
            self.written += 1;
            file.write_all(text.replace('N', &format!("{:08}", self.written)).as_bytes()).unwrap();
        }
    }

    /// Hands out all batches and returns the number of their entries.
    fn ship(&mut self) -> usize {
        let mut entries = 0;
        for _ in 0..100 {
            self.now.instant += Duration::from_secs(1);
            self.tail.scan(self.now).unwrap();
            while let Some(batch) = self.tail.next_batch(self.now, true) {
                entries += batch.entries;
            }
        }
        entries
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }

    /// Rotates as logrotate does, by rename or by copytruncate. Two rotated files are kept.
    fn rotate(&self, by_rename: bool) {
        let path = |name: &str| self.dir.path().join(name);
        if path("a.log.1").exists() {
            self.rename("a.log.1", "a.log.2");
        }
        if by_rename {
            self.rename("a.log", "a.log.1");
        } else {
            fs::copy(path("a.log"), path("a.log.1")).unwrap();
            File::options().write(true).open(path("a.log")).unwrap().set_len(0).unwrap();
        }
    }
}

/// How many more bytes are in use than before.
fn held(stats: Stats) -> i128 {
    stats.bytes_allocated as i128 - stats.bytes_deallocated as i128
}

fn assert_that_entries_cost_no_allocation() {
    let mut world = World::new();
    // The buffers grow to their final size.
    world.append(4000);
    assert_eq!(world.ship(), 4000);
    let mut allocations_for = |entries: usize| {
        world.append(entries);
        world.tail.scan(world.now).unwrap();
        let region = Region::new(ALLOCATOR);
        let batch = world.tail.next_batch(world.now, true).unwrap();
        let stats = region.change();
        // The last entry may continue.
        assert_eq!(batch.entries, entries - 1);
        world.ship();
        stats.allocations + stats.reallocations
    };
    let (few, many) = (allocations_for(40), allocations_for(4000));
    assert_eq!(few, many, "allocations for batches of 39 and of 3,999 entries");
}

fn assert_that_rotations_leave_no_memory_behind() {
    let mut world = World::new();
    let mut rotate = |times: usize| {
        for turn in 0..times {
            world.append(20);
            assert_eq!(world.ship(), 20);
            world.rotate(turn.is_multiple_of(2));
        }
    };
    rotate(10);
    let region = Region::new(ALLOCATOR);
    rotate(100);
    let held = held(region.change());
    assert!(held.abs() < 4096, "{held} bytes more after a hundred rotations");
}

#[test]
fn takes_no_memory_for_an_entry_and_keeps_none_after_a_rotation() {
    assert_that_entries_cost_no_allocation();
    assert_that_rotations_leave_no_memory_behind();
}
