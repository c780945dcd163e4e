//! Settings that change while the shipper runs: no line is lost or shown twice, and no batch that was made changes.

use redis_log_shipper::drop;
use redis_log_shipper::redaction::{OwnRule, Redaction};

use super::world::World;

#[test]
fn resumes_an_excluded_file_at_its_position_once_it_is_included_again() {
    let mut world = World::new();
    for name in ["a.log", "b.log"] {
        world.append(name, 3);
    }
    world.ship();
    world.exclude("a.log");
    world.append_and_ship("a.log", 3);
    assert_eq!(world.seen().len(), 6);
    assert_eq!(world.descriptors(), 1);
    world.include_again("a.log");
    world.assert_ships_every_line_once();
    // Loki would hide what is pushed twice.
    assert_eq!(world.metric("entries_read_total"), world.written);
}

#[test]
fn resumes_a_file_that_was_excluded_from_the_start_at_the_position_of_an_earlier_run() {
    let mut world = World::with_shipped_lines(3);
    world.crash();
    world.exclude("a.log");
    world.start();
    world.append("a.log", 3);
    world.ship();
    assert_eq!(world.seen().len(), 3);
    world.include_again("a.log");
    world.assert_ships_every_line_once();
    assert_eq!(world.metric("entries_read_total"), world.written);
}

#[test]
fn finds_the_unread_lines_of_an_excluded_file_after_its_rotation() {
    let mut world = World::with_shipped_lines(3);
    world.append("a.log", 2);
    world.scan();
    world.exclude("a.log");
    world.append("a.log", 2);
    world.copytruncate("a.log");
    world.append("a.log", 2);
    world.ship();
    world.rotate_by_rename("a.log");
    world.append("a.log", 2);
    world.ship();
    world.gzip("a.log.2");
    world.include_again("a.log");
    world.assert_ships_every_line_once();
    // The next rotation is nothing special.
    world.rotate_by_rename("a.log");
    world.append("a.log", 2);
    world.assert_ships_every_line_once();
}

#[test]
fn pushes_a_batch_that_was_made_before_its_file_was_excluded_and_nothing_of_it_twice() {
    let mut world = World::with_shipped_lines(3);
    world.append("a.log", 3);
    world.scan();
    assert!(world.make_one());
    world.exclude("a.log");
    world.ship();
    // The last line waits for what comes after it.
    assert_eq!(world.seen().len(), 5);
    world.append("a.log", 3);
    world.crash_and_restart();
    world.include_again("a.log");
    world.assert_ships_every_line_once();
}

#[test]
fn changes_redaction_and_drop_rules_from_the_next_batch_on() {
    let mut world = World::new();
    let line = |word: &str| format!("2026-02-20 22:31:00,000 INFO {word} password=hunter2 card 1234\n");
    world.append_text("a.log", line("made before") + &line("made after"));
    world.scan();
    assert!(world.make_one());
    world.settings.redaction =
        Redaction { on: true, own: OwnRule::parse(&["card=card ([0-9]{4})".to_owned()]).unwrap() };
    world.settings.drop = drop::parse(&["pattern=noise".to_owned()]).unwrap();
    world.adjust();
    world.append_text("a.log", line("noise"));
    world.ship();
    let entries = world.entries();
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(entries[0].ends_with("made before password=[redacted:1-7] card 1234"), "{entries:?}");
    assert!(entries[1].ends_with("made after password=[redacted:1-7] card [redacted:1-7]"), "{entries:?}");
    assert_eq!(world.metric("entries_dropped_total"), 1);
    world.settings.redaction = Redaction::default();
    world.settings.drop.clear();
    world.adjust();
    world.append_text("a.log", line("noise"));
    world.ship();
    assert!(world.entries()[2].ends_with("noise password=[redacted:1-7] card 1234"), "{:?}", world.entries());
    // A rule that is gone has no series.
    assert_eq!(world.metric("entries_dropped_total"), 0);
}
