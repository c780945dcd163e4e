//! Crashes between a push and its acknowledgement.

use super::world::{Fate, World};

#[test]
fn a_resend_after_a_crash_is_identical() {
    // Lines with a timestamp, without one, and with one far ahead, and a file without any timestamp.
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
            world.ship_with(Fate::Stored);
            world.pass(3600);
            world.crash_and_restart();
        }
        world.assert_ships_every_line_once();
    }
}

#[test]
fn a_resend_after_a_crash_is_identical_across_a_rotation() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 2);
    for _ in 0..6 {
        world.ship_with(Fate::Stored);
        world.pass(3);
        world.crash_and_restart();
    }
    world.assert_ships_every_line_once();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_a_rotated_file_grew_late() {
    let mut world = World::with_shipped_lines(2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    world.pass(3);
    world.ship_with(Fate::Stored);
    world.append("a.log.1", 1);
    world.crash_and_restart();
    world.assert_ships_every_line_once();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_a_complete_text_was_continued() {
    let mut world = World::with_shipped_lines(1);
    world.append("a.log", 1);
    world.pass(3);
    world.ship_with(Fate::Stored);
    let more = world.untimed_line();
    world.append_text("a.log", more);
    world.crash_and_restart();
    world.assert_ships_every_line_once();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_the_clock_was_set_back() {
    let mut world = World::new();
    for _ in 0..3 {
        let lines = world.untimed_line() + &world.untimed_line();
        world.append_text("a.log", lines);
        world.ship_with(Fate::Stored);
        world.now.clock -= 3_600_000_000_000;
        world.crash_and_restart();
    }
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_the_clock_was_set_back_before_a_timestamp() {
    let mut world = World::with_shipped_lines(1);
    world.pass(7200);
    // The first line is pushed while the second may still be continued.
    world.append("a.log", 2);
    world.ship_with(Fate::Stored);
    world.now.clock -= 7_200_000_000_000;
    world.crash_and_restart();
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn a_resend_after_a_crash_is_identical_though_an_unfinished_line_was_finished_after_it_was_shipped() {
    let mut world = World::with_shipped_lines(1);
    world.append_text("a.log", "2026-02-20 22:31:07,000 INFO half");
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    // Nobody finishes the line, so it is shipped unfinished.
    while world.entries().len() < 2 {
        world.scan();
        world.push_one(Fate::Stored);
        world.pass(1);
    }
    world.crash_and_restart();
    world.append_text("a.log.1", " and more\n");
    world.ship();
    let seen = world.seen();
    assert_eq!(seen.iter().filter(|line| line.starts_with("half")).count(), 1, "{seen:?}");
    assert!(seen.contains(&"half".to_owned()) && seen.contains(&"line 2".to_owned()), "{seen:?}");
}

#[test]
fn a_resend_after_a_crash_is_identical_though_the_oldest_of_three_files_grew_late() {
    let mut world = World::new();
    for _ in 0..2 {
        world.append_and_ship("a.log", 2);
        world.rotate_by_rename("a.log");
    }
    world.append_and_ship("a.log", 1);
    world.append("a.log.2", 2);
    // The first line is pushed, and the record says that the file grew late.
    world.scan();
    world.push_one(Fate::Stored);
    world.crash_and_restart();
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_read_total"), 5 + 2 + 1);
}

#[test]
fn a_lost_batch_is_made_again() {
    let mut world = World::new();
    world.append("a.log", 3);
    world.ship_with(Fate::Lost);
    world.crash_and_restart();
    world.assert_ships_every_line_once_in_order();
}
