//! One file under several names, and several files that begin alike.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::world::{Fate, World};

#[test]
fn ships_a_file_with_two_names_once() {
    let mut world = World::new();
    world.append("b.log", 2);
    std::fs::hard_link(world.path("b.log"), world.path("a.log")).unwrap();
    symlink("b.log", world.path("0.log")).unwrap();
    world.ship();
    world.append_and_ship("b.log", 2);
    world.crash_and_restart();
    world.append("b.log", 1);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 5);
}

#[test]
fn follows_a_link_to_its_current_target() {
    let mut world = World::new();
    world.append("run-1.txt", 2);
    symlink("run-1.txt", world.path("current.log")).unwrap();
    world.ship();
    world.append("run-1.txt", 1);
    world.append("run-2.txt", 1);
    symlink("run-2.txt", world.path("new")).unwrap();
    world.rename("new", "current.log");
    world.append("run-2.txt", 1);
    world.assert_ships_every_line_once_in_order();
}

#[test]
fn never_reads_a_link_target_outside_the_directory() {
    let mut world = World::new();
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret\n").unwrap();
    symlink(token.path(), world.path("token.log")).unwrap();
    world.append_and_ship("a.log", 1);
    // The link replaces a followed file.
    symlink(token.path(), world.path("link")).unwrap();
    world.rename("link", "a.log");
    world.ship();
    world.crash_and_restart();
    world.assert_ships_every_line_once();
}

#[test]
fn does_not_ship_a_file_again_that_is_renamed_to_another_name_inside_the_glob() {
    let mut world = World::with_shipped_lines(2);
    world.append("a.log", 1);
    world.rename("a.log", "b.log");
    world.append_and_ship("a.log", 1);
    // The old stream closes the file, and the stream of the new name continues it.
    world.pass(120);
    world.ship();
    world.append("b.log", 1);
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_read_total"), 5);
}

#[test]
fn tells_two_files_apart_that_begin_alike() {
    let mut world = World::new();
    let banner = "=".repeat(1500) + "\n";
    for name in ["a.log", "b.log"] {
        world.append_text(name, &banner);
        world.append(name, 2);
    }
    world.ship_one(Fate::Acknowledged);
    world.pass(1);
    world.crash_and_restart();
    for name in ["a.log", "b.log"] {
        world.append(name, 2);
    }
    world.ship();
    let mut seen = world.seen();
    seen.retain(|line| line.starts_with("line"));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    assert_eq!(world.metric("entries_read_total"), 10);
}

#[test]
fn does_not_wait_for_a_fifo_or_a_device() {
    let mut world = World::new();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, world.path("fifo.log"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    symlink("fifo.log", world.path("link.log")).unwrap();
    symlink("/dev/zero", world.path("device.log")).unwrap();
    std::fs::create_dir(world.path("folder.log")).unwrap();
    world.append("a.log", 2);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_read_total"), 2);
    assert_eq!(world.descriptors(), 1);
    assert_eq!(world.tail.as_mut().unwrap().files().len(), 1);
}

#[test]
fn reads_a_file_once_it_is_readable_and_the_other_files_meanwhile() {
    // A thread of its own loses root's powers: the test runner may reuse this one.
    let reads = std::thread::spawn(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).unwrap();
        let mut world = World::new();
        let allow = |world: &World, mode| set_permissions(world.path("a.log"), Permissions::from_mode(mode)).unwrap();
        world.append("a.log", 1);
        allow(&world, 0o000);
        world.append_and_ship("b.log", 1);
        assert_eq!(world.seen(), ["line 2"]);
        assert!(world.tail.as_mut().unwrap().files()[0].error.is_some());
        allow(&world, 0o600);
        world.ship();
        world.append("a.log", 1);
        world.assert_ships_every_line_once();
        assert_eq!(world.metric("entries_read_total"), 3);
        assert!(world.tail.as_mut().unwrap().files()[0].error.is_none());
    });
    reads.join().unwrap();
}

#[test]
fn follows_a_name_once_it_is_a_regular_file() {
    let mut world = World::new();
    std::fs::create_dir(world.path("a.log")).unwrap();
    symlink("b.txt", world.path("b.log")).unwrap();
    world.append_and_ship("c.log", 1);
    std::fs::remove_dir(world.path("a.log")).unwrap();
    world.append("a.log", 1);
    world.append("b.txt", 1);
    world.assert_ships_every_line_once();
}
