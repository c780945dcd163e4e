//! Answers that mean that a push was stored.

use super::world::*;

#[tokio::test(start_paused = true)]
async fn what_is_stored_and_pushes_it_once() {
    for status in [200, 204] {
        let mut world = World::new(Receiver::scripted([Answer::refused(status, "")]));
        world.push(batch(&lines(3))).await;
        assert_eq!((world.bodies().len(), world.troubles().len()), (1, 0), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_late() {
    let slow = Answer::After(Duration::from_secs(29), Box::new(Answer::Stored));
    let mut world = World::new(Receiver::scripted([slow]));
    world.push(batch(&lines(3))).await;
    assert_eq!((world.bodies().len(), world.troubles().len()), (1, 0));
}
