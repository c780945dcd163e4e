//! Pushes that are too large.

use super::world::*;

/// Refuses bodies over the limit as too large.
fn at_most(limit: usize, answer: Answer) -> Receiver {
    Receiver::new(move |push| if push.body.len() > limit { answer.clone() } else { Answer::Stored })
}

/// Lines that do not compress.
fn noise(count: usize, len: usize) -> Vec<String> {
    let hex = |_| char::from_digit(rand::random_range(0..16), 16).unwrap();
    (0..count).map(|_| (0..len).map(hex).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_until_it_is_taken() {
    for answer in [
        Answer::refused(413, ""),
        Answer::refused(400, "compressed message size 9 exceeds limit 8"),
        Answer::refused(500, "rpc error: grpc: received message larger than max (5000000 vs. 4194304)"),
    ] {
        let lines = noise(100, 500);
        let mut world = World::new(at_most(4000, answer));
        assert_eq!(world.push(batch(&lines)).await, Rejections::default());
        assert_eq!(world.receiver.shown(), lines);
        assert_eq!(world.troubles(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn and_counts_an_entry_that_is_too_large_alone() {
    let mut lines = noise(20, 100);
    lines[7] = noise(1, 10_000).remove(0);
    let mut world = World::new(at_most(4000, Answer::refused(413, "")));
    assert_eq!(world.push(batch(&lines)).await, Rejections::of(Reason::TooLarge, 1));
    lines.remove(7);
    assert_eq!(world.receiver.shown(), lines);
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_the_rate_allows() {
    let throttled = Answer::refused(
        429,
        "ingestion rate limit exceeded for user fake (limit: 4000 bytes/sec) while attempting to ingest '100' lines \
         totaling '50000' bytes, reduce log volume",
    );
    let lines = noise(100, 500);
    let mut world = World::new(at_most(4000, throttled));
    world.push(batch(&lines)).await;
    assert_eq!(world.receiver.shown(), lines);
    // The client never retries a push that the answer says is too large.
    assert!(world.bodies().windows(2).all(|pair| pair[0] != pair[1]));
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_again_and_again_for_reasons_unsaid() {
    let lines = noise(10, 500);
    let mut world = World::new(at_most(1000, Answer::refused(429, "slow down")));
    world.push(batch(&lines)).await;
    assert_eq!(world.receiver.shown(), lines);
}
