//! What happens while the shipper is down.

use std::fs::File;

use redis_log_shipper::labels::Labels;

use super::world::World;

/// A world in which two lines are shipped, one is not, and the shipper is down.
fn down() -> World {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 1);
    world.tail = None;
    world
}

fn up(mut world: World) -> World {
    world.crash_and_restart();
    world.ship();
    world
}

#[test]
fn resumes_after_a_restart() {
    let mut world = up(down());
    world.crash_and_restart();
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 3);
}

#[test]
fn resumes_though_the_labels_changed() {
    let mut world = down();
    world.settings.labels = Labels::parse(&["job=other".to_owned()]).unwrap();
    world = up(world);
    assert_eq!(world.metric("entries_read_total"), 3);
}

/// Rotates the file while the shipper is down, and appends `lines` to the new file. Checks that every line is read once.
fn rotated_while_it_was_down(rotate: fn(&World, &str), lines: usize) {
    let mut world = down();
    rotate(&world, "a.log");
    world.append("a.log", lines);
    let world = up(world);
    world.assert_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 3 + lines as u64);
    assert_eq!(world.metric("files_lost_total"), 0);
}

#[test]
fn finds_a_file_that_was_renamed_while_it_was_down_and_the_new_one_is_smaller() {
    rotated_while_it_was_down(World::rotate_by_rename, 0);
    rotated_while_it_was_down(World::rotate_by_rename, 1);
}

#[test]
fn finds_a_file_that_was_renamed_while_it_was_down_and_the_new_one_is_larger() {
    rotated_while_it_was_down(World::rotate_by_rename, 50);
}

#[test]
fn finds_the_copy_of_a_file_that_was_truncated_while_it_was_down_and_is_smaller() {
    rotated_while_it_was_down(World::copytruncate, 0);
    rotated_while_it_was_down(World::copytruncate, 1);
}

#[test]
fn finds_the_copy_of_a_file_that_was_truncated_while_it_was_down_and_is_larger() {
    rotated_while_it_was_down(World::copytruncate, 50);
}

#[test]
fn finds_its_file_again_though_the_new_live_file_begins_alike() {
    let banner = "=".repeat(1500) + "\n";
    for rotate in [World::copytruncate, World::rotate_by_rename] {
        let mut world = World::new();
        world.append_text("a.log", &banner);
        world.append_and_ship("a.log", 2);
        world.append("a.log", 1);
        world.tail = None;
        rotate(&world, "a.log");
        world.append_text("a.log", &banner);
        world.append("a.log", 50);
        let world = up(world);
        let mut seen = world.seen();
        seen.retain(|line| line.starts_with("line"));
        assert_eq!(seen, (1..=53).map(|n| format!("line {n}")).collect::<Vec<_>>());
    }
}

#[test]
fn reads_a_file_from_its_start_that_was_truncated_while_it_was_down_and_counts_the_loss() {
    for lines in [0, 1, 50] {
        let mut world = down();
        // The third line is lost.
        world.written -= 1;
        world.truncate("a.log");
        world.pass(1);
        world.append("a.log", lines);
        let world = up(world);
        world.assert_every_line_once_in_order();
        assert_eq!(world.metric("files_lost_total"), 1, "{lines} lines");
    }
}

#[test]
fn reads_a_file_from_its_start_that_has_the_inode_of_an_older_file() {
    let mut world = down();
    // The third line is lost: another name has the inode now, and the file holds other lines.
    world.written -= 1;
    world.pass(1);
    let text = world.lines(50);
    world.rename("a.log", "b.log");
    std::fs::write(world.path("b.log"), text).unwrap();
    world.append("a.log", 2);
    let world = up(world);
    world.assert_every_line_once();
    assert_eq!(world.metric("files_lost_total"), 1);
    assert_eq!(world.metric("entries_read_total"), 2 + 52);
}

#[test]
fn finds_its_files_again_though_they_were_compressed() {
    for rotate in [World::copytruncate, World::rotate_by_rename] {
        let mut world = down();
        for _ in 0..3 {
            rotate(&world, "a.log");
            world.gzip("a.log.1");
            world.append("a.log", 2);
        }
        up(world).assert_every_line_once_in_order();
    }
}

#[test]
fn closes_an_archive_once_it_is_read_though_there_is_no_new_file() {
    let world = down();
    world.rotate_by_rename("a.log");
    world.gzip("a.log.1");
    let mut world = up(world);
    world.assert_every_line_once_in_order();
    assert_eq!(world.descriptors(), 0);
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 5);
    world.crash_and_restart();
    assert_eq!(world.metric("files_lost_total"), 0);
}

#[test]
fn reads_the_plain_file_while_its_archive_is_still_being_written() {
    let mut world = down();
    world.rotate_by_rename("a.log");
    world.copy("a.log.1", "saved");
    world.gzip("a.log.1");
    world.rename("saved", "a.log.1");
    let compressed = File::options().write(true).open(world.path("a.log.1.gz")).unwrap();
    compressed.set_len(compressed.metadata().unwrap().len() / 2).unwrap();
    world.append("a.log", 2);
    let world = up(world);
    world.assert_every_line_once_in_order();
    assert_eq!(world.metric("files_lost_total"), 0);
}

#[test]
fn continues_after_a_damaged_archive() {
    let mut world = down();
    world.written -= 1;
    world.rotate_by_rename("a.log");
    world.gzip("a.log.1");
    let compressed = File::options().write(true).open(world.path("a.log.1.gz")).unwrap();
    compressed.set_len(compressed.metadata().unwrap().len() - 10).unwrap();
    world.append("a.log", 2);
    let world = up(world);
    world.assert_every_line_once_in_order();
    // The file that was being read, and the archive.
    assert_eq!(world.metric("files_lost_total"), 2);
}

#[test]
fn reads_a_file_from_its_start_that_replaced_another_one() {
    for lines in [1, 50] {
        // The third line is lost: the file was replaced, or overwritten in place like a file with a reused inode.
        for in_place in [true, false] {
            let mut world = down();
            world.written -= 1;
            world.pass(1);
            let text = world.lines(lines);
            if !in_place {
                std::fs::rename(world.path("a.log"), world.path("elsewhere")).unwrap();
            }
            std::fs::write(world.path("a.log"), text).unwrap();
            let world = up(world);
            world.assert_every_line_once_in_order();
            assert_eq!(world.metric("files_lost_total"), 1);
        }
    }
}

#[test]
fn finds_a_file_that_was_empty_when_it_went_down_and_rotated_twice_since() {
    let mut world = World::with_shipped_lines(3);
    world.copytruncate("a.log");
    world.ship();
    world.tail = None;
    for _ in 0..2 {
        world.append("a.log", 2);
        world.copytruncate("a.log");
    }
    world.append("a.log", 2);
    up(world).assert_every_line_once_in_order();
}

#[test]
fn does_not_ship_what_was_rotated_away_before_it_ever_ran() {
    let mut world = World::new();
    world.tail = None;
    for name in ["a.log.2", "a.log.1"] {
        world.append_text(name, "old\n");
    }
    world.gzip("a.log.2");
    world.append("a.log", 1);
    up(world).assert_every_line_once();
}

#[test]
fn resumes_though_the_volume_is_attached_to_another_node() {
    let mut world = World::new();
    // The line is too short to identify the file, and has no timestamp.
    let line = world.untimed_line();
    world.append_text("a.log", line);
    world.append("b.log", 2);
    world.rotate_by_rename("b.log");
    world.append_and_ship("b.log", 1);
    world.crash();
    world.attach_elsewhere();
    world.crash_and_restart();
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_read_total"), 4);
}

#[test]
fn starts_from_the_beginning_without_positions() {
    let mut world = down();
    world.forget_positions();
    let world = up(world);
    assert_eq!(world.metric("entries_read_total"), 5);
}

#[test]
fn counts_no_loss_of_a_fully_read_file() {
    let mut world = World::new();
    world.append_text("a.log", "2026-02-20 22:31:07,000 INFO one\n");
    world.append_text("b.log", "2026-02-20 22:31:07,000 INFO two\n2026-02-20 22:31:08,000 INFO unfin");
    world.ship();
    world.crash();
    std::fs::remove_file(world.path("a.log")).unwrap();
    std::fs::remove_file(world.path("b.log")).unwrap();
    world.start();
    assert_eq!(world.metric("files_lost_total"), 1);
}
