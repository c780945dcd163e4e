//! Pushes that Loki stores in part.

use super::world::*;

#[tokio::test(start_paused = true)]
async fn after_a_400_that_names_rejected_entries() {
    let text = "entry with timestamp 2026-02-20 22:31:07 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp \
                is: 2026-02-20T22:31:07Z',\nuser 'fake', total ignored: 1 out of 5000 for stream: {}";
    let mut lines = lines(5000);
    lines[1234] = "poison".to_owned();
    let mut world = World::new(Receiver::scripted([Answer::StoredExcept("poison", text)]));
    assert_eq!(world.push(batch(&lines)).await, Rejections::of(Reason::TooFarBehind, 1));
    assert_eq!(world.bodies().len(), 1);
    lines.remove(1234);
    assert_eq!(world.receiver.shown(), lines);
}

#[tokio::test(start_paused = true)]
async fn without_the_one_entry_of_5000_that_a_proxy_refuses() {
    let mut lines = lines(5000);
    lines[1234] = "poison".to_owned();
    let mut world = World::new(Receiver::new(refuses("poison", 400, "Bad Request")));
    assert_eq!(world.push(batch(&lines)).await, Rejections::of(Reason::Other, 1));
    lines.remove(1234);
    assert_eq!(world.receiver.shown(), lines);
    assert_eq!(world.troubles(), []);
    assert!(world.bodies().len() < 100, "{}", world.bodies().len());
}

#[tokio::test(start_paused = true)]
async fn without_the_only_entry_of_a_batch_at_once_where_others_were_taken_and_else_after_an_hour() {
    let poison = ["poison".to_owned()];
    let mut world = World::new(Receiver::new(refuses("poison", 400, "Bad Request")));
    for waits in [HOUR, Duration::ZERO, HOUR] {
        let start = Instant::now();
        assert_eq!(world.push(batch(&poison)).await, Rejections::of(Reason::Other, 1));
        assert!((waits..waits + Duration::from_mins(1)).contains(&start.elapsed()), "{:?}", start.elapsed());
        if waits == HOUR {
            world.push(batch(&lines(1))).await;
        } else {
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn though_more_entries_are_refused_one_after_the_other_than_are_tried_at_first() {
    let mut lines = lines(300);
    for (at, line) in lines.iter_mut().enumerate().take(200) {
        *line = format!("poison {at}");
    }
    let mut world = World::new(Receiver::new(refuses("poison", 400, "Bad Request")));
    assert_eq!(world.push(batch(&lines)).await, Rejections::of(Reason::Other, 200));
    assert_eq!(world.receiver.shown(), lines[200..]);
}

#[tokio::test(start_paused = true)]
async fn and_shows_one_of_the_rejected_entries_and_why_a_minute() {
    let log = Log::default();
    let _guard = log.listen();
    let mut poisoned = lines(60);
    poisoned[7] = format!("poison {}", "x".repeat(200));
    let mut world = World::new(Receiver::new(refuses("poison", 400, "Bad Request: no thanks")));
    for _ in 0..3 {
        world.push(batch(&poisoned)).await;
    }
    let said = log.take();
    assert_eq!(said.matches("entries were rejected for good").count(), 1, "{said}");
    for part in ["other", "Bad Request: no thanks", "the entry of 7 ns, 207 bytes", "poison xxx"] {
        assert!(said.contains(part), "{part} missing in {said}");
    }
    assert!(!said.contains(&"x".repeat(100)), "{said}");
    tokio::time::advance(Duration::from_mins(1)).await;
    world.push(batch(&poisoned)).await;
    assert_eq!(log.take().matches("entries were rejected for good").count(), 1);

    // If Loki names a reason, the rejected entry is the one that fits it best.
    for (text, entry) in [
        ("entry for stream '{}' has timestamp too old: x", "the entry of 0 ns"),
        ("max entry size '9' bytes exceeded for stream '{}' while adding an entry", "the entry of 7 ns"),
    ] {
        let mut world = World::new(Receiver::scripted([Answer::StoredExcept("poison", text)]));
        world.push(batch(&poisoned)).await;
        let said = log.take();
        assert!(said.contains(entry) && said.contains(text), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn and_counts_those_refused_alone_together_with_those_that_are_named() {
    let mut lines = lines(2);
    lines[0] = "poison".to_owned();
    lines[1] = "old".to_owned();
    let mut refuse = refuses("poison", 400, "Bad Request");
    let mut world = World::new(Receiver::new(move |push| match refuse(push) {
        Answer::Stored => Answer::StoredExcept("old", "entry for stream '{}' has timestamp too old: x"),
        other => other,
    }));
    let mut both = Rejections::of(Reason::Other, 1);
    both.extend(&Rejections::of(Reason::TooOld, 1));
    assert_eq!(world.push(batch(&lines)).await, both);
}

#[tokio::test(start_paused = true)]
async fn without_metadata_where_that_is_refused() {
    let text = "3 errors like: stream '{}' includes structured metadata, but this feature is disallowed. Please see \
                `limits_config.allow_structured_metadata`";
    let receiver = Receiver::new(move |push| {
        let with = push.streams.iter().flat_map(|stream| &stream.metadata).any(|pairs| !pairs.is_empty());
        if with { Answer::refused(400, text) } else { Answer::Stored }
    });
    let mut world = World::new(receiver);
    let lines = lines(3);
    assert_eq!(world.push(batch(&lines)).await, Rejections::default());
    assert_eq!(world.receiver.shown(), lines);
    assert_eq!((world.bodies().len(), world.troubles().len()), (2, 0));
    assert!(!world.metadata.is_on());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn without_the_poison_and_with_all_the_rest(
        poison in proptest::collection::btree_set(0..60_usize, 0..20),
        refusal in proptest::sample::select(vec![(400_u16, "Bad Request"), (413, "")]),
    ) {
        let mut lines = lines(60);
        for at in &poison {
            lines[*at] = format!("poison {at}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (rejected, shown, troubles) = runtime.block_on(async {
            let mut world = World::new(Receiver::new(refuses("poison", refusal.0, refusal.1)));
            (world.push(batch(&lines)).await, world.receiver.shown(), world.troubles())
        });
        let good: Vec<_> = lines.into_iter().filter(|line| !line.contains("poison")).collect();
        proptest::prop_assert_eq!(rejected.total(), poison.len() as u64);
        proptest::prop_assert_eq!(shown, good);
        proptest::prop_assert_eq!(troubles, []);
    }
}
