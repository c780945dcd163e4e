//! Files that are truncated, with or without a copy, and files that are rewritten.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::world::{Fate, World};

#[test]
fn recovers_the_unread_rest_from_the_copy_after_a_truncation() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn recovers_the_unread_rest_from_the_copy_though_the_file_begins_with_the_same_bytes_again() {
    let mut world = World::new();
    let banner = "=".repeat(1500) + "\n";
    world.append_text("a.log", &banner);
    world.append_and_ship("a.log", 2);
    for _ in 0..2 {
        world.append("a.log", 2);
        world.copytruncate("a.log");
        world.append_text("a.log", &banner);
        world.append_and_ship("a.log", 1);
    }
    let mut seen = world.seen();
    seen.retain(|line| line.starts_with("line"));
    assert_eq!(seen, (1..=8).map(|n| format!("line {n}")).collect::<Vec<_>>());
    // Each banner once, alone or joined with the lines after it.
    assert!(world.metric("entries_read_total") <= 8 + 3);
}

#[test]
fn recovers_the_unread_rest_from_a_copy_inside_the_glob_and_ships_no_copy() {
    let mut world = World::new();
    world.include = "*";
    world.crash_and_restart();
    world.append_and_ship("a.log", 2);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append_and_ship("a.log", 1);
    world.gzip("a.log.1");
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 5);
}

#[test]
fn reads_on_after_a_truncation_without_a_copy_and_counts_what_was_lost() {
    let mut world = World::with_shipped_lines(2);
    let lost = "2026-02-20 22:31:07,000 INFO never seen\n";
    world.append_text("a.log", lost);
    world.scan();
    world.truncate("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("bytes_lost_total"), lost.len() as u64);
}

#[test]
fn notices_a_truncation_after_which_the_file_regrew_past_the_position() {
    for banner in [String::new(), "=".repeat(1500) + "\n"] {
        let mut world = World::new();
        world.append_text("a.log", &banner);
        world.append_and_ship("a.log", 2);
        world.append("a.log", 1);
        world.copytruncate("a.log");
        world.append_text("a.log", &banner);
        world.append("a.log", 50);
        world.assert_ships_every_line_once_in_order();
    }
}

#[test]
fn notices_a_truncation_between_a_scan_and_the_next_read() {
    // A partly read file and an unread file.
    for read in [2, 0] {
        let mut world = World::new();
        world.append_and_ship("a.log", read);
        world.append("a.log", 2);
        for _ in 0..3 {
            world.scan();
        }
        world.copytruncate("a.log");
        world.append("a.log", 50);
        while world.push_one(Fate::Acknowledged) {}
        world.assert_ships_every_line_once_in_order();
    }
}

#[test]
fn notices_a_truncation_after_which_the_file_begins_with_the_same_half_line() {
    let mut world = World::with_shipped_lines(1);
    world.copytruncate("a.log");
    world.ship();
    let line = world.line();
    let (first, rest) = line.split_at(line.len() / 2);
    world.append_text("a.log", first);
    world.scan();
    world.append_text("a.log", rest);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn recovers_everything_after_two_truncations_between_two_scans() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 3);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn recovers_a_file_that_was_filled_and_truncated_before_it_was_ever_read() {
    let mut world = World::with_shipped_lines(2);
    world.copytruncate("a.log");
    world.ship();
    world.append("a.log", 3);
    world.copytruncate("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn skips_the_hole_of_a_writer_that_continues_at_its_old_offset() {
    let mut world = World::with_shipped_lines(100);
    let writer = File::options().write(true).open(world.path("a.log")).unwrap();
    let place = writer.metadata().unwrap().len();
    world.copytruncate("a.log");
    let line = world.line();
    writer.write_all_at(line.as_bytes(), place).unwrap();
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("bytes_lost_total"), place);
}

#[test]
fn ships_nothing_again_if_a_file_is_replaced_by_one_with_the_same_content() {
    for down in [false, true] {
        let mut world = World::with_shipped_lines(3);
        if down {
            world.tail = None;
        }
        world.copy("a.log", "a.tmp");
        world.rename("a.tmp", "a.log");
        if down {
            world.crash_and_restart();
        }
        world.ship();
        world.append("a.log", 2);
        world.assert_ships_every_line_once_in_order();
        assert_eq!(world.metric("entries_read_total"), 5, "down: {down}");
    }
}

#[test]
fn reads_a_new_file_from_its_start_though_it_begins_with_the_same_short_line() {
    let mut world = World::new();
    world.append_text("a.log", "jemalloc: using background threads\n");
    world.ship();
    world.append_text("a.tmp", "jemalloc: using background threads\n");
    world.rename("a.tmp", "a.log");
    world.ship();
    assert_eq!(world.entries().len(), 2);
}
