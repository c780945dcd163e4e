//! The rate of pushes and the number of connections, whatever the answers are.

use super::world::*;

#[tokio::test(start_paused = true)]
async fn pushes_no_more_per_second_than_it_may() {
    let mut world = World::with(Receiver::scripted([]), |settings, _| settings.rate_limit = Some(1000));
    let start = Instant::now();
    for _ in 0..20 {
        world.push(batch(&lines(50))).await;
    }
    let pushes = world.receiver.pushes();
    let (last, before) = pushes.split_last().unwrap();
    let bytes: usize = before.iter().map(|push| push.body.len()).sum();
    assert_eq!((last.at - start).as_millis() / 10, u128::try_from(bytes).unwrap() / 10);
}

#[tokio::test(start_paused = true)]
async fn pushes_no_more_per_second_where_pushes_fail() {
    let answers = [Answer::refused(503, ""), Answer::refused(500, ""), Answer::refused(400, "Bad Request")];
    let mut world = World::with(Receiver::scripted(answers), |settings, _| settings.rate_limit = Some(10));
    world.push(batch(&lines(50))).await;
    let pushes: Vec<_> = world.receiver.pushes().into_iter().filter(|push| push.lines().count() > 0).collect();
    assert_eq!(pushes.len(), 5);
    for pair in pushes.windows(2) {
        let (waited, bytes) = ((pair[1].at - pair[0].at).as_secs(), pair[0].body.len() as u64);
        assert!((bytes / 10..=bytes / 10 + 1).contains(&waited), "{waited} s after {bytes} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn sends_no_empty_push_but_to_ask_whether_one_would_be_taken() {
    let mut world = World::new(Receiver::scripted([Answer::refused(500, ""), Answer::refused(403, "")]));
    world.push(batch(&lines(3))).await;
    assert!(world.receiver.pushes().iter().all(|push| push.lines().count() == 3));
}

#[tokio::test(start_paused = true)]
async fn keeps_one_connection_at_most_however_often_pushes_fail() {
    let mut number = 0;
    let mut world = World::new(Receiver::new(move |_| {
        number += 1;
        match number % 6 {
            1 => Answer::Reset,
            2 => Answer::Nothing,
            3 => Answer::refused(503, ""),
            4 => Answer::refused(400, "Bad Request"),
            _ => Answer::Stored,
        }
    }));
    for _ in 0..200 {
        world.push(batch(&lines(2))).await;
        assert!(world.receiver.open() <= 1, "{}", world.receiver.open());
    }
    assert!(world.receiver.dialed().len() > 100);
}
