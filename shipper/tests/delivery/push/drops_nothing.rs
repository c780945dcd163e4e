//! Refusals that look like rejections of entries. The client drops nothing.

use super::world::*;

/// How long every push is refused.
const WHILE: Duration = Duration::from_mins(5);

/// Gives `answer` to every push for a while, then stores.
fn for_a_while(mut answer: impl FnMut(&Push) -> Answer + Send + 'static) -> Receiver {
    let start = Instant::now();
    Receiver::new(move |push| if start.elapsed() < WHILE { answer(push) } else { Answer::Stored })
}

async fn is_shown_after_a_while(receiver: Receiver, count: usize) {
    let (lines, start) = (lines(count), Instant::now());
    let mut world = World::new(receiver);
    assert_eq!(world.push(batch(&lines)).await, Rejections::default());
    assert_eq!(world.receiver.shown(), lines);
    assert!(start.elapsed() >= WHILE);
    assert!(world.troubles().iter().all(|trouble| *trouble == Trouble::BadRequest));
}

#[tokio::test(start_paused = true)]
async fn where_a_proxy_says_400_to_everything() {
    for count in [1, 2, 50] {
        is_shown_after_a_while(for_a_while(|_| Answer::refused(400, "Bad Request")), count).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_not_one_entry_of_many_is_taken() {
    for count in [2, 31, 80] {
        is_shown_after_a_while(for_a_while(refuses("line", 400, "these labels are odd")), count).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_small_requests_pass_or_not_even_those() {
    for count in [1, 2, 50] {
        let lets_nothing_through = for_a_while(|_| Answer::refused(413, ""));
        is_shown_after_a_while(lets_nothing_through, count).await;
        is_shown_after_a_while(for_a_while(refuses("line", 413, "")), count).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_proxy_begins_to_refuse_everything_while_an_entry_is_looked_for() {
    let mut lines = lines(60);
    lines[50] = "poison".to_owned();
    let (start, mut stored) = (Instant::now(), 0);
    let mut answer = refuses("poison", 400, "Bad Request");
    let receiver = Receiver::new(move |push| {
        if stored > 0 && start.elapsed() < WHILE {
            return Answer::refused(400, "Bad Request");
        }
        let answer = answer(push);
        stored += usize::from(matches!(answer, Answer::Stored));
        answer
    });
    let mut world = World::new(receiver);
    assert_eq!(world.push(batch(&lines)).await, Rejections::of(Reason::Other, 1));
    lines.remove(50);
    assert_eq!(world.receiver.shown(), lines);
}

#[tokio::test(start_paused = true)]
async fn where_an_entry_without_neighbours_is_refused_and_nothing_tells_that_others_are_taken() {
    let mut world = World::new(for_a_while(refuses("line", 400, "these labels are odd")));
    // One stored piece makes one refusal a rejection, not two.
    world.push(batch(&["taken".to_owned()])).await;
    assert_eq!(world.push(batch(&lines(1))).await, Rejections::of(Reason::Other, 1));
    let (start, second) = (Instant::now(), lines(1));
    assert_eq!(world.push(batch(&second)).await, Rejections::default());
    assert!(start.elapsed() >= WHILE);
    assert_eq!(world.receiver.shown(), ["taken".to_owned(), second[0].clone()]);
}

#[tokio::test(start_paused = true)]
async fn and_asks_for_a_bounded_part_of_the_entries_one_by_one() {
    let mut world = World::new(for_a_while(refuses("line", 400, "these labels are odd")));
    world.push(batch(&lines(600))).await;
    let pushes = world.receiver.pushes();
    let alone = pushes.iter().filter(|push| push.lines().count() == 1).filter_map(|push| push.lines().next());
    let alone: std::collections::BTreeSet<_> = alone.collect();
    assert!((250..=256).contains(&alone.len()), "{}", alone.len());
}
