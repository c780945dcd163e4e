//! Drop rules: what they drop is not lost, and the entries that stay are the same with and without them.

use proptest::prelude::*;
use redis_log_shipper::drop;

use super::world::{Fate, World};

fn world(rules: &[&str]) -> World {
    let rules: Vec<_> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    World::with(|settings| {
        settings.drop = drop::parse(&rules).unwrap();
        settings.batch_bytes = 1024;
    })
}

#[test]
fn moves_the_position_over_a_file_whose_entries_are_all_dropped() {
    let mut world = world(&["a*:level=info"]);
    world.append_and_ship("a.log", 100);
    assert_eq!((world.entries().len(), world.metric("entries_dropped_total")), (0, 100));
    assert!(world.tail.as_ref().unwrap().is_drained(false));
    assert_eq!(world.metric("files_lost_total") + world.metric("bytes_lost_total"), 0);
    // Nothing of it is read again, with the rule or without it.
    world.settings.drop.clear();
    world.crash_and_restart();
    world.ship();
    assert_eq!((world.entries().len(), world.metric("entries_dropped_total")), (0, 100));
    world.append_and_ship("b.log", 1);
    assert_eq!(world.entries().len(), 1);
}

#[test]
fn drops_an_entry_of_several_lines_as_a_whole() {
    let mut world = world(&["pattern=ValueError"]);
    let (first, last) = (world.line(), world.line());
    world.append_text("a.log", first);
    world.append_text("a.log", "2026-02-20 22:31:00,000 ERROR x\nTraceback\nValueError: y\n");
    world.append_text("a.log", last);
    world.assert_ships_every_line_once_in_order();
    assert_eq!(world.metric("entries_dropped_total"), 1);
}

#[test]
fn matches_an_entry_as_it_would_be_shown() {
    let mut world = world(&["pattern=hunter2", "pattern=redacted:1-7"]);
    world.append_text("a.log", "2026-02-20 22:31:00,000 INFO password=hunter2\n");
    world.append_text("a.log", "2026-02-20 22:31:00,000 INFO \u{1b}[31mcolour\u{1b}[0m\n");
    world.ship();
    assert_eq!(world.entries(), ["2026-02-20 22:31:00,000 INFO colour"]);
}

/// Lines of which the rules of the test drop some.
const LINES: &[&str] = &[
    "2026-02-20 22:30:07,000 INFO kept",
    "2026-02-20 22:30:07,000 DEBUG dropped",
    "2026-02-20 22:30:06,000 INFO noise: dropped",
    "2999-01-01 00:00:00,000 DEBUG dropped, of a time that cannot be",
    "a line without a time",
    "2026-02-20 22:30:08,000 DEBUG dropped\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_no_entry_that_stays_whatever_happens_to_the_pushes(
        lines in proptest::collection::vec(proptest::sample::select(LINES), 1..40),
        fates in proptest::collection::vec(prop_oneof![Just(Fate::Stored), Just(Fate::Lost)], 0..6),
    ) {
        let text = format!("2026-02-20 22:30:07,000 INFO started\n{}\n", lines.join("\n"));
        let mut all = world(&[]);
        all.append_text("a.log", &text);
        all.ship();
        let shown = all.times().into_iter().zip(all.entries());
        let stays = |entry: &String| !entry.lines().next().unwrap().contains(" DEBUG ") && !entry.contains("noise");
        let expected: Vec<_> = shown.filter(|(_, entry)| stays(entry)).collect();

        let mut dropping = world(&["level=debug", "a.log:pattern=noise"]);
        dropping.append_text("a.log", &text);
        for fate in fates {
            dropping.ship_with(fate);
            dropping.crash_and_restart();
        }
        dropping.ship();
        let seen: Vec<_> = dropping.times().into_iter().zip(dropping.entries()).collect();
        prop_assert_eq!(seen, expected);
    }
}
