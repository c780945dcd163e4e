//! Files that are renamed, compressed and deleted.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use super::world::{Fate, World};

#[test]
fn drains_a_renamed_file_before_the_new_one() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn sees_several_renames_between_two_scans() {
    let mut world = World::with_shipped_lines(2);
    for _ in 0..3 {
        world.append("a.log", 2);
        world.rotate_by_rename("a.log");
    }
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn sees_several_renames_between_two_scans_though_all_files_begin_alike() {
    let mut world = World::new();
    let banner = "=".repeat(1500) + "\n";
    world.append_text("a.log", &banner);
    world.append_and_ship("a.log", 2);
    for _ in 0..3 {
        world.append("a.log", 2);
        world.rotate_by_rename("a.log");
        world.append_text("a.log", &banner);
    }
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn finds_a_file_that_was_created_and_rotated_between_two_scans() {
    let mut world = World::new();
    world.append("a.log", 1);
    world.rotate_by_rename("a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn follows_a_cascade_inside_and_outside_the_glob() {
    for include in ["*.log", "*"] {
        let mut world = World::new();
        world.include = include;
        world.crash_and_restart();
        for _ in 0..4 {
            world.append("a.log", 2);
            world.scan();
            world.rotate_by_rename("a.log");
            world.ship_one(Fate::Acknowledged);
        }
        world.append("a.log", 1);
        world.assert_ships_every_line_once_in_order();
        assert_eq!(world.metric("entries_read_total"), 9, "{include}");
    }
}

#[test]
fn follows_a_writer_that_stays_on_the_renamed_file_for_a_minute_and_then_closes_it() {
    let mut world = World::with_shipped_lines(2);
    world.rename("a.log", "a.log.1");
    let start = world.now.instant;
    while world.now.instant - start < Duration::from_mins(1) {
        world.append("a.log", 1);
        world.append("a.log.1", 1);
        for _ in 0..5 {
            world.pass(1);
            while world.ship_one(Fate::Acknowledged) {}
        }
    }
    world.assert_ships_every_line_once();
    assert_eq!(world.descriptors(), 2);
    world.pass(60);
    world.ship();
    assert_eq!(world.descriptors(), 1);
}

#[test]
fn follows_a_writer_that_stays_on_the_renamed_file() {
    let mut world = World::with_shipped_lines(2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    for _ in 0..3 {
        world.ship();
        world.append("a.log.1", 2);
    }
    world.ship();
    world.append("a.log", 1);
    world.assert_ships_every_line_once();
}

#[test]
fn follows_a_writer_that_stays_on_a_file_that_was_renamed_while_it_was_empty() {
    let mut world = World::new();
    world.append_text("a.log", "");
    world.ship();
    world.rename("a.log", "a.log.1");
    world.append_and_ship("a.log", 1);
    world.append("a.log.1", 1);
    world.assert_ships_every_line_once();
}

/// A file that was renamed while it was empty, with a shipped late line. The new live file stays empty.
fn renamed_empty_with_a_late_line() -> World {
    let mut world = World::with_shipped_lines(1);
    world.copytruncate("a.log");
    world.rotate_by_rename("a.log");
    world.append_text("a.log", "");
    world.ship();
    world.append_and_ship("a.log.1", 1);
    world
}

/// Scans every second until a rotated file is closed.
fn outlive_the_late_writer(world: &mut World) {
    for _ in 0..4 {
        world.ship();
    }
}

#[test]
fn ships_a_late_line_once_though_the_file_was_renamed_while_it_was_empty() {
    let mut world = renamed_empty_with_a_late_line();
    outlive_the_late_writer(&mut world);
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 3);
    assert_eq!(world.descriptors(), 1);
}

#[test]
fn ships_a_late_line_once_though_its_file_is_compressed_before_the_next_one_begins() {
    for restarts in [false, true] {
        let mut world = renamed_empty_with_a_late_line();
        if restarts {
            world.crash();
        }
        world.gzip("a.log.1");
        if restarts {
            world.start();
        }
        outlive_the_late_writer(&mut world);
        world.append("a.log", 1);
        world.assert_ships_every_line_once_in_order();
        assert_eq!(world.metric("entries_read_total"), 3, "restarts: {restarts}");
    }
}

#[test]
fn ships_a_late_line_once_though_an_older_file_waits_to_be_pushed() {
    let mut world = World::with(|settings| settings.batch_bytes = 4096);
    world.append_and_ship("a.log", 1);
    world.append("a.log", 500);
    world.rotate_by_rename("a.log");
    world.append_text("a.log", "");
    world.scan();
    world.rotate_by_rename("a.log");
    world.append_text("a.log", "");
    world.scan();
    // The late line comes first. The other lines wait for longer than a late writer is waited for.
    world.append("a.log.1", 1);
    for _ in 0..5 {
        world.pass(1);
        world.ship_one(Fate::Acknowledged);
    }
    assert!(world.seen().contains(&"line 502".to_owned()));
    for _ in 0..100 {
        world.pass(1);
        world.scan();
    }
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_read_total"), 502);
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
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn ships_a_text_that_a_rotation_cut_in_two() {
    for rotate in [World::copytruncate, World::rotate_by_rename] {
        let mut world = World::with_shipped_lines(1);
        world.append("a.log", 1);
        let (first, rest) = (world.untimed_line(), world.untimed_line());
        world.append_text("a.log", first);
        world.scan();
        rotate(&world, "a.log");
        world.append_text("a.log", rest);
        world.append("a.log", 1);
        world.assert_ships_every_line_once_in_order();
    }
}

#[test]
fn keeps_every_generation_while_nothing_can_be_pushed() {
    let mut world = World::with_shipped_lines(2);
    for turn in 0..6 {
        world.append("a.log", 2);
        world.scan();
        [World::rotate_by_rename, World::copytruncate][turn % 2](&world, "a.log");
        world.scan();
        world.pass(300);
    }
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn reads_on_in_a_file_that_is_renamed_compressed_and_deleted_meanwhile() {
    let mut world = World::with(|settings| settings.batch_bytes = 4096);
    world.append("a.log", 1000);
    world.ship_one(Fate::Acknowledged);
    world.ship_one(Fate::Acknowledged);
    world.rename("a.log", "a.log.1");
    world.ship_one(Fate::Acknowledged);
    world.gzip("a.log.1");
    world.append("a.log", 1);
    world.ship_one(Fate::Acknowledged);
    world.delete("a.log.1.gz");
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn finds_a_file_between_one_that_was_compressed_and_the_live_one() {
    let mut world = World::with_shipped_lines(2);
    world.rotate_by_rename("a.log");
    world.gzip("a.log.1");
    world.append("a.log", 2);
    world.rotate_by_rename("a.log");
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn waits_for_a_file_that_is_missing_for_a_while() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 1);
    world.delete("a.log");
    world.ship();
    world.pass(3600);
    world.ship();
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn reads_a_file_that_is_deleted_and_created_again_between_two_scans() {
    let mut world = World::new();
    for lines in [1, 3, 1] {
        world.append("a.log", 2);
        world.scan();
        world.delete("a.log");
        world.append_and_ship("a.log", lines);
    }
    // Nobody has the file open any more, so its inode may be reused.
    world.delete("a.log");
    world.ship();
    world.pass(60);
    world.ship();
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn drains_a_deleted_file_that_is_still_written_to_and_then_closes_it() {
    let mut world = World::with_shipped_lines(2);
    let mut writer = File::options().append(true).open(world.path("a.log")).unwrap();
    world.delete("a.log");
    world.append_and_ship("a.log", 1);
    let line = world.line();
    writer.write_all(line.as_bytes()).unwrap();
    drop(writer);
    world.assert_ships_every_line_once();
    assert_eq!(world.descriptors(), 2);
    world.pass(60);
    world.ship();
    assert_eq!(world.descriptors(), 1);
}

#[test]
fn closes_a_deleted_file_though_no_new_file_takes_its_name() {
    let mut world = World::new();
    world.append("a.log", 2);
    let mut writer = File::options().append(true).open(world.path("a.log")).unwrap();
    world.scan();
    world.delete("a.log");
    world.ship();
    // Each write comes just before the file would be closed.
    for _ in 0..3 {
        world.pass(30);
        writer.write_all(world.line().as_bytes()).unwrap();
        world.ship();
    }
    writer.write_all(b"unfinished").unwrap();
    world.pass(30);
    world.ship();
    assert_eq!(world.descriptors(), 2);
    world.pass(60);
    world.ship();
    drop(writer);
    assert_eq!(world.descriptors(), 0);
    assert!(world.tail.as_mut().unwrap().files().is_empty());
    assert_eq!(*world.entries().last().unwrap(), "unfinished");
    assert_eq!(world.entries().len(), 6);
    // It was fully read: the next start counts no loss.
    world.crash_and_restart();
    assert_eq!(world.metric("files_lost_total"), 0);
    world.written += 5;
    world.append_and_ship("a.log", 1);
    assert_eq!(world.entries().len(), 7);
}

#[test]
fn takes_back_a_file_that_is_renamed_away_and_back() {
    // Turn 0: there is no new file. Turn 1: the new file is replaced at once. Turn 2: it is replaced after two minutes.
    for turn in 0..3 {
        let mut world = World::with_shipped_lines(2);
        world.append("a.log", 1);
        world.rename("a.log", "elsewhere");
        if turn > 0 {
            world.append("a.log", 1);
        }
        world.ship();
        if turn > 1 {
            world.pass(120);
            world.ship();
        }
        world.rename("elsewhere", "a.log");
        world.ship();
        world.append("a.log", 1);
        world.assert_ships_every_line_once_in_order();
    }
}

#[test]
fn takes_back_a_copy_that_is_renamed_to_the_live_file() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 1);
    world.copytruncate("a.log");
    world.scan();
    world.rename("a.log.1", "a.log");
    world.append("a.log", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn decompresses_the_archive_of_an_open_file_once_and_not_at_every_scan() {
    let mut world = World::with(|settings| settings.batch_bytes = 4096);
    world.append("a.log", 20_000);
    world.ship_one(Fate::Acknowledged);
    world.rotate_by_rename("a.log");
    // The new file stays empty, and nothing can be pushed for now.
    world.append_text("a.log", "");
    world.scan();
    world.gzip("a.log.1");
    let size = std::fs::metadata(world.path("a.log.1.gz")).unwrap().len();
    world.scan();
    let before = bytes_read();
    for _ in 0..10 {
        world.scan();
    }
    assert!(size > 50_000 && bytes_read() - before < 10 * size, "{} of {size}", bytes_read() - before);
    world.assert_ships_every_line_once_in_order();
}

/// How many bytes this thread has read from files.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn closes_the_oldest_deleted_file_before_deleted_files_fill_the_disk() {
    let mut world = World::new();
    // Two files with two thirds of the limit each. A third file takes no space: it is one hole.
    let size = redis_log_shipper::tail::DELETED / 3 * 2;
    for name in ["hole.log", "old.log", "new.log"] {
        let file = File::create(world.path(name)).unwrap();
        if name == "hole.log" {
            file.set_len(size).unwrap();
        } else {
            world.append(name, 1);
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
        }
        world.pass(10);
        world.scan();
    }
    world.delete("new.log");
    world.delete("hole.log");
    world.delete("old.log");
    world.scan();
    assert_eq!(world.descriptors(), 2);
    assert_eq!(world.metric("bytes_lost_total"), size);
    world.ship();
    assert_eq!(world.seen(), ["line 2"]);
}

#[test]
fn keeps_few_descriptors_however_often_files_are_rotated() {
    let mut world = World::new();
    for turn in 0..200 {
        world.append("a.log", 2);
        [World::rotate_by_rename, World::copytruncate][turn % 2](&world, "a.log");
        world.append_and_ship("a.log", 1);
        if world.path("a.log.4").exists() {
            world.delete("a.log.4");
        }
    }
    assert!(world.descriptors() < 10, "{}", world.descriptors());
}

#[test]
fn forgets_a_stream_a_day_after_its_last_file_is_gone_and_reads_a_new_file_of_its_name() {
    let mut world = World::new();
    for name in ["a.log", "b.log"] {
        world.append(name, 2);
    }
    world.ship();
    world.copytruncate("a.log");
    world.delete("a.log");
    world.pass(25 * 3600);
    world.ship();
    // The rotated file may still be renamed back.
    assert_eq!(world.known(), ["a.log", "b.log"]);
    world.delete("a.log.1");
    world.ship();
    assert_eq!(world.known(), ["a.log", "b.log"]);
    world.pass(25 * 3600);
    world.ship();
    assert_eq!(world.known(), ["b.log"]);
    world.append("a.log", 2);
    world.append("b.log", 2);
    world.assert_ships_every_line_once();
    assert_eq!(world.known(), ["a.log", "b.log"]);
}
