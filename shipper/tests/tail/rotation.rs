//! Files that are renamed, compressed and deleted.

use std::fs::File;
use std::io::Write as _;

use crate::world::{Fate, World};

#[test]
fn drains_a_renamed_file_before_the_new_one() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    world.append("a.log", 2);
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn sees_several_renames_between_two_looks() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    for _ in 0..3 {
        world.append("a.log", 2);
        world.rotate_by_rename("a.log");
    }
    world.append("a.log", 2);
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn sees_several_renames_between_two_looks_though_all_files_begin_alike() {
    let mut world = World::new();
    let banner = "=".repeat(1500) + "\n";
    world.append_text("a.log", &banner);
    world.append("a.log", 2);
    world.ship();
    for _ in 0..3 {
        world.append("a.log", 2);
        world.rotate_by_rename("a.log");
        world.append_text("a.log", &banner);
    }
    world.append("a.log", 2);
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn finds_a_file_that_came_and_was_rotated_between_two_looks() {
    let mut world = World::new();
    world.append("a.log", 1);
    world.rotate_by_rename("a.log");
    world.append("a.log", 1);
    world.ship();
    world.assert_every_line_once_in_order();
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
        world.ship();
        world.assert_every_line_once_in_order();
    }
}

#[test]
fn follows_a_writer_that_stays_on_the_renamed_file() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    world.rename("a.log", "a.log.1");
    world.append("a.log", 2);
    for _ in 0..3 {
        world.ship();
        world.append("a.log.1", 2);
    }
    world.ship();
    world.append("a.log", 1);
    world.ship();
    world.assert_every_line_once();
}

#[test]
fn follows_a_writer_that_stays_on_a_file_that_was_renamed_while_it_was_empty() {
    let mut world = World::new();
    world.append_text("a.log", "");
    world.ship();
    world.rename("a.log", "a.log.1");
    world.append("a.log", 1);
    world.ship();
    world.append("a.log.1", 1);
    world.ship();
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
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn ships_a_text_that_a_rotation_cut_in_two() {
    for rotate in [World::copytruncate, World::rotate_by_rename] {
        let mut world = World::new();
        world.append("a.log", 1);
        world.ship();
        world.append("a.log", 1);
        let (first, rest) = (world.untimed_line(), world.untimed_line());
        world.append_text("a.log", first);
        world.scan();
        rotate(&world, "a.log");
        world.append_text("a.log", rest);
        world.append("a.log", 1);
        world.ship();
        world.assert_every_line_once_in_order();
    }
}

#[test]
fn keeps_every_generation_while_nothing_can_be_pushed() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    for turn in 0..6 {
        world.append("a.log", 2);
        world.scan();
        [World::rotate_by_rename, World::copytruncate][turn % 2](&world, "a.log");
        world.scan();
        world.pass(300);
    }
    world.append("a.log", 1);
    world.ship();
    world.assert_every_line_once_in_order();
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
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn finds_a_file_between_one_that_was_compressed_and_the_live_one() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    world.rotate_by_rename("a.log");
    world.gzip("a.log.1");
    world.append("a.log", 2);
    world.rotate_by_rename("a.log");
    world.append("a.log", 2);
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn waits_for_a_file_that_is_away_for_a_while() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    world.append("a.log", 1);
    world.delete("a.log");
    world.ship();
    world.pass(3600);
    world.ship();
    world.append("a.log", 2);
    world.ship();
    world.assert_every_line_once_in_order();
}

#[test]
fn drains_a_deleted_file_that_is_still_written_to_and_then_lets_go_of_it() {
    let mut world = World::new();
    world.append("a.log", 2);
    world.ship();
    let mut writer = File::options().append(true).open(world.path("a.log")).unwrap();
    world.delete("a.log");
    world.append("a.log", 1);
    world.ship();
    let line = world.line();
    writer.write_all(line.as_bytes()).unwrap();
    drop(writer);
    world.ship();
    world.assert_every_line_once();
    assert_eq!(world.descriptors(), 2);
    world.pass(60);
    world.ship();
    assert_eq!(world.descriptors(), 1);
}

#[test]
fn gives_up_the_oldest_deleted_file_before_deleted_files_fill_the_disk() {
    let mut world = World::new();
    // Sparse files, two thirds of the bound each.
    let size = redis_log_shipper::tail::DELETED / 3 * 2;
    for name in ["old.log", "new.log"] {
        world.append(name, 1);
        File::options().write(true).open(world.path(name)).unwrap().set_len(size).unwrap();
        world.pass(10);
        world.scan();
    }
    world.delete("new.log");
    world.delete("old.log");
    world.scan();
    assert_eq!(world.descriptors(), 1);
    assert_eq!(world.metric("bytes_lost_total"), size);
    world.ship();
    assert_eq!(world.seen(), ["line 2"]);
}

#[test]
fn keeps_its_descriptors_few_however_often_files_are_rotated() {
    let mut world = World::new();
    for turn in 0..200 {
        world.append("a.log", 2);
        [World::rotate_by_rename, World::copytruncate][turn % 2](&world, "a.log");
        world.append("a.log", 1);
        world.ship();
        if world.path("a.log.4").exists() {
            world.delete("a.log.4");
        }
    }
    assert!(world.descriptors() < 10, "{}", world.descriptors());
}
