//! Bytes to entries, without rotation.

use std::time::Duration;

use super::world::{Fate, World};

const HOUR: i64 = 3_600_000_000_000;

#[test]
fn ships_existing_and_new_lines() {
    let mut world = World::with_shipped_lines(3);
    world.append("a.log", 2);
    world.append("b.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn ships_a_file_that_is_older_than_the_shipper() {
    let mut world = World::new();
    world.tail = None;
    world.append("a.log", 3);
    world.crash_and_restart();
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn ships_a_file_that_was_empty_at_first() {
    let mut world = World::new();
    world.append_text("a.log", "");
    world.ship();
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn holds_a_line_until_it_is_complete() {
    let mut world = World::new();
    let line = world.line();
    let (first, rest) = line.split_at(10);
    world.append_text("a.log", first);
    world.ship();
    assert!(world.seen().is_empty());
    world.append_text("a.log", rest);
    world.assert_ships_every_line_once();
}

#[test]
fn joins_a_line_that_came_in_many_writes() {
    let mut world = World::new();
    world.append("a.log", 1);
    for byte in world.line().bytes() {
        world.append_text("a.log", [byte]);
        world.ship_one(Fate::Acknowledged);
    }
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn keeps_empty_lines_and_removes_line_endings() {
    let mut world = World::new();
    world.append_text("a.log", "one\r\n\ntwo\n");
    world.ship();
    assert_eq!(world.entries(), ["one", "", "two"]);
}

#[test]
fn removes_nuls_and_the_byte_order_mark_and_replaces_invalid_utf8() {
    let mut world = World::new();
    world.append_text("a.log", b"\xef\xbb\xbf2026-02-20 22:31:07,000 INFO one\n\0\0\0\0two\xff\n\0\0");
    world.ship();
    assert_eq!(world.entries(), ["2026-02-20 22:31:07,000 INFO one", "two\u{FFFD}"]);
    assert_eq!(world.metric("bytes_lost_total"), 6);
}

#[test]
fn skips_a_hole_without_reading_it() {
    use std::os::unix::fs::FileExt as _;
    const HOLE: u64 = 1 << 40;
    let mut world = World::new();
    world.append_text("a.log", "one\n");
    world.ship();
    // A writer that did not notice a truncation continues at its old offset. Reading a tebibyte would take minutes.
    let file = std::fs::File::options().write(true).open(world.path("a.log")).unwrap();
    file.write_all_at(b"two\n", HOLE).unwrap();
    world.ship();
    assert_eq!(world.entries(), ["one", "two"]);
    assert_eq!(world.metric("bytes_lost_total"), HOLE - 4);
    file.set_len(2 * HOLE).unwrap();
    world.ship();
    world.crash_and_restart();
    world.append_text("a.log", "three\n");
    world.ship();
    assert_eq!(world.entries(), ["one", "two", "three"]);
    assert_eq!(world.metric("bytes_lost_total"), 2 * HOLE - 8);
}

#[test]
fn splits_a_line_over_the_limit_and_keeps_the_lines_beside_it() {
    let mut world = World::with(|settings| settings.max_line = 100);
    world.append_text("a.log", format!("before\n{}\nafter\n", "0123456789".repeat(25)));
    world.ship();
    let entries = world.entries();
    assert_eq!(entries.first().unwrap(), "before");
    assert_eq!(entries.last().unwrap(), "after");
    assert!(entries.iter().all(|entry| entry.len() <= 100));
    assert_eq!(entries[1..entries.len() - 1].concat(), "0123456789".repeat(25));
    assert_eq!(world.metric("lines_cut_total"), 2);
}

#[test]
fn ships_a_file_that_has_no_line_ending_piece_by_piece() {
    let mut world = World::with(|settings| settings.batch_bytes = 64 << 10);
    world.append_text("a.log", vec![b'x'; 3 << 20]);
    world.append_text("a.log", "\n");
    world.ship();
    assert!(world.entries().iter().all(|entry| entry.len() <= 4096));
    assert_eq!(world.entries().concat().len(), 3 << 20);
}

#[test]
fn joins_a_traceback_to_its_first_line() {
    let mut world = World::new();
    world.append_text(
        "a.log",
        "2026-02-20 22:31:07,000 ERROR x\nTraceback\n\n  File\nValueError\n2026-02-20 22:31:08,000 INFO y\n",
    );
    world.ship();
    assert_eq!(
        world.entries(),
        ["2026-02-20 22:31:07,000 ERROR x\nTraceback\n\n  File\nValueError", "2026-02-20 22:31:08,000 INFO y"]
    );
}

/// A crash report that comes in two parts, and the lines beside it.
const REPORT: [&str; 4] = [
    "7:M 20 Feb 2026 22:31:00.000 * Ready\n\n\n",
    "=== REDIS BUG REPORT START: Cut & paste starting from here ===\n7:M 20 Feb 2026 22:31:01.000 # crashed by signal: 11\n\n",
    "# Server\r\nredis_version:7.0.15\r\n7:M 20 Feb 2026 22:31:02.000 # Bio\n\n=== REDIS BUG REPORT END. ===\n\n  Please\n",
    "8:C 20 Feb 2026 22:31:03.000 * Redis is starting\n",
];

#[test]
fn makes_one_entry_of_a_crash_report_while_it_is_written() {
    let mut world = World::new();
    world.append_text("redis-1.log", REPORT[0]);
    world.append_text("redis-1.log", REPORT[1]);
    // Redis tests its memory.
    for _ in 0..4 {
        world.ship_one(Fate::Acknowledged);
        world.pass(1);
    }
    world.append_text("redis-1.log", REPORT[2]);
    world.append_text("redis-1.log", REPORT[3]);
    world.ship();
    let entries = world.entries();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries[0], "7:M 20 Feb 2026 22:31:00.000 * Ready");
    assert!(entries[1].starts_with("=== REDIS BUG REPORT START") && entries[1].ends_with("Please"), "{entries:?}");
    assert!(!entries[1].contains('\r'));
    let times = world.times();
    assert_eq!([times[1] - times[0], times[2] - times[1]], [1_000_000_000, 2_000_000_000]);
}

#[test]
fn goes_on_with_a_crash_report_after_a_restart_in_its_middle() {
    let mut world = World::new();
    world.append_text("redis-1.log", REPORT[0]);
    world.append_text("redis-1.log", REPORT[1]);
    // The process hangs, and the report is taken for complete.
    world.ship();
    world.crash_and_restart();
    world.append_text("redis-1.log", REPORT[2]);
    world.append_text("redis-1.log", REPORT[3]);
    world.ship();
    let entries = world.entries();
    assert_eq!(entries.len(), 4, "{entries:?}");
    assert!(entries[2].starts_with("# Server\nredis_version:7.0.15\n7:M"), "{entries:?}");
}

#[test]
fn joins_no_lines_if_multiline_is_off() {
    let mut world = World::with(|settings| settings.multiline = false);
    world.append_text("a.log", "2026-02-20 22:31:07,000 ERROR x\nTraceback\n");
    world.ship();
    assert_eq!(world.entries(), ["2026-02-20 22:31:07,000 ERROR x", "Traceback"]);
}

#[test]
fn joins_lines_across_the_edges_of_a_chunk() {
    let mut world = World::with(|settings| settings.batch_bytes = 300_000);
    let mut text = String::new();
    for _ in 0..10_000 {
        text += &[world.line(), "  ".to_owned(), world.untimed_line(), "  ".to_owned(), world.untimed_line()].concat();
    }
    world.append_text("a.log", text);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.entries().len(), 10_000);
    assert!(world.entries().iter().all(|entry| entry.lines().count() == 3));
}

#[test]
fn holds_a_text_that_may_continue_but_not_for_long() {
    let mut world = World::new();
    world.append("a.log", 1);
    world.scan();
    // The first batch only saves the order of reading.
    while world.push_one(Fate::Acknowledged) {}
    assert!(world.seen().is_empty());
    let due = world.tail.as_ref().unwrap().next_due().unwrap() - world.now.instant;
    assert!(due <= Duration::from_millis(300), "{due:?}");
    world.pass_time(due);
    assert_eq!(world.tail.as_mut().unwrap().next_batch(world.now, false).unwrap().entries, 1);
}

#[test]
fn gives_lines_before_the_first_timestamp_a_time_right_before_it() {
    let mut world = World::new();
    world.append_text("a.log", "==== banner\n2026-02-20 22:30:07,000 INFO line\n");
    world.ship();
    let times = world.times();
    assert_eq!(times[1] - times[0], 1);
}

#[test]
fn skips_entries_that_loki_would_reject_for_their_age() {
    let mut world = World::new();
    world.append_text("a.log", "2026-01-01 00:00:00,000 INFO old\n");
    world.append("a.log", 1);
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_skipped_old_total"), 1);
}

#[test]
fn waits_for_more_lines_only_after_a_recent_batch() {
    let mut world = World::with_shipped_lines(1);
    world.append("a.log", 2);
    world.scan();
    let next = |world: &mut World| world.tail.as_mut().unwrap().next_batch(world.now, false).map(|batch| batch.entries);
    // The second line may be continued.
    assert_eq!(next(&mut world), Some(1));
    world.append("a.log", 1);
    world.pass_time(Duration::from_millis(900));
    world.scan();
    assert_eq!(next(&mut world), None);
    world.pass_time(Duration::from_millis(100));
    assert_eq!(next(&mut world), Some(1));
}

#[test]
fn wakes_up_once_for_files_that_are_due_about_the_same_time() {
    let mut world = World::new();
    for name in ["a.log", "b.log", "c.log"] {
        world.append(name, 1);
    }
    world.ship();
    for name in ["a.log", "b.log", "c.log"] {
        world.append(name, 1);
    }
    world.scan();
    while world.push_one(Fate::Acknowledged) {}
    world.pass(1);
    world.scan();
    let tail = world.tail.as_mut().unwrap();
    let batches: Vec<_> = std::iter::from_fn(|| tail.next_batch(world.now, false)).collect();
    assert_eq!(batches.iter().map(|batch| batch.entries).collect::<Vec<_>>(), [1, 1, 1]);
    // One saved record declares all three texts complete.
    assert_eq!(batches.iter().map(|batch| batch.before.len()).collect::<Vec<_>>(), [3, 0, 0]);
}

#[test]
fn a_flood_in_one_file_does_not_hold_up_the_others() {
    let mut world = World::with(|settings| settings.batch_bytes = 4096);
    world.append("flood.log", 5_000);
    for n in 0..20 {
        world.append(&format!("quiet-{n}.log"), 2);
    }
    world.scan();
    for _ in 0..60 {
        world.push_one(Fate::Acknowledged);
    }
    let quiet = world.loki.shows().into_keys().filter(|(labels, _)| labels.contains("quiet")).count();
    assert!(quiet >= 20, "{quiet}");
    world.assert_ships_every_line_once();
}

#[test]
fn gives_every_quiet_file_its_turn_beside_a_flood() {
    let mut world = World::with(|settings| settings.batch_bytes = 4096);
    world.append("a-flood.log", 5_000);
    for n in 0..20 {
        world.append(&format!("quiet-{n}.log"), 2);
    }
    world.scan();
    // Each stream saves its order of reading first, and then has its turn.
    for _ in 0..2 * 21 {
        world.push_one(Fate::Acknowledged);
    }
    let seen = world.seen();
    for n in 0..20 {
        assert!(seen.contains(&format!("line {}", 5_001 + 2 * n)), "quiet-{n}.log");
    }
}

/// Appends a line with a timestamp to `timed.log`, and a line without one to any other file.
fn write(world: &mut World, name: &str) {
    let line = if name == "timed.log" { world.line() } else { world.untimed_line() };
    world.append_text(name, line);
}

#[test]
fn keeps_the_order_though_the_clock_is_set_back_a_little() {
    let mut world = World::new();
    for name in ["timed.log", "untimed.log"] {
        for _ in 0..3 {
            write(&mut world, name);
            world.ship();
            world.now.clock -= 180_000_000_000;
        }
    }
    world.assert_every_line_once_in_order();
}

#[test]
fn uses_the_right_clock_again_after_the_clock_was_an_hour_ahead() {
    for name in ["timed.log", "untimed.log"] {
        for restarts in [false, true] {
            let mut world = World::new();
            write(&mut world, name);
            world.ship();
            world.now.clock += HOUR;
            write(&mut world, name);
            world.ship();
            world.now.clock -= HOUR;
            if restarts {
                world.fail();
                world.start();
            }
            for _ in 0..2 {
                write(&mut world, name);
                world.ship();
                let (right, last) =
                    (world.right_clock(), world.times_of_lines()[usize::try_from(world.written).unwrap() - 1]);
                assert!(
                    (right - 60_000_000_000..=right).contains(&last),
                    "{name}: {} s",
                    (last - right) / 1_000_000_000
                );
            }
            world.assert_every_line_once();
        }
    }
}

#[test]
fn keeps_equal_lines_apart_that_were_written_before_and_after_the_clock_was_set_back() {
    let mut world = World::new();
    let line = "2026-02-20 22:31:00,000 INFO twice\n";
    world.append_text("a.log", line);
    world.ship();
    world.now.clock += HOUR;
    let ahead = world.line();
    world.append_text("a.log", ahead);
    world.ship();
    world.now.clock -= HOUR;
    world.append_text("a.log", line);
    world.append_text("a.log", line);
    world.ship();
    assert_eq!(world.seen().iter().filter(|seen| *seen == "twice").count(), 3);
}

#[test]
fn follows_a_thousand_files() {
    let mut world = World::new();
    for n in 0..1000 {
        world.append(&format!("redis-{n}.log"), 1);
    }
    world.assert_ships_every_line_once();
}

#[test]
fn reports_the_state_of_the_files() {
    let mut world = World::with_shipped_lines(2);
    let shipped = world.tail.as_mut().unwrap().files().remove(0);
    assert_eq!((shipped.position, shipped.unread, shipped.unread_since), (shipped.size, 0, None));
    let came = world.now.instant;
    world.append("a.log", 1);
    world.scan();
    world.pass(5);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    world.scan();
    let waiting = world.tail.as_mut().unwrap().files().remove(0);
    assert_eq!(waiting.position, shipped.position);
    assert_eq!((waiting.generations, waiting.unread_since), (2, Some(came)));
    assert!(waiting.unread > waiting.size, "{waiting:?}");
}
