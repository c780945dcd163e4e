//! Failures that pass by themselves.

use super::world::*;

#[tokio::test(start_paused = true)]
async fn the_same_bytes_after_trouble_that_passes() {
    for status in [500, 502, 503, 504, 408] {
        holds_and_resends(Answer::refused(status, ""), Trouble::Unavailable(None)).await;
    }
    let throttled = Trouble::Throttled { limit: Limit::Unknown, after: None, over: false };
    holds_and_resends(Answer::refused(429, ""), throttled).await;
    holds_and_resends(Answer::Reset, Trouble::NoAnswer(ConnectionFault::Broken)).await;
    holds_and_resends(Answer::Nothing, Trouble::NoAnswer(ConnectionFault::Timeout)).await;
    let late = Answer::After(Duration::from_secs(31), Box::new(Answer::refused(204, "")));
    holds_and_resends(late, Trouble::NoAnswer(ConnectionFault::Timeout)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_new_until_its_time_has_come() {
    let start = Instant::now();
    let mut world =
        World::new(Receiver::new(move |_| if start.elapsed() < HOUR { Answer::StoredUpTo(1) } else { Answer::Stored }));
    let lines = lines(3);
    assert_eq!(world.push(batch(&lines)).await, Rejections::default());
    assert_eq!(world.receiver.shown(), lines);
    assert!(world.troubles().iter().all(|trouble| *trouble == Trouble::TooNew));
    // The client does not resend stored entries all the time.
    assert!(world.bodies().len() < 60, "{}", world.bodies().len());
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_where_the_answer_was_lost_after_the_commit() {
    let mut world = World::new(Receiver::scripted([Answer::StoredInSilence, Answer::StoredInSilence]));
    let lines = lines(3);
    world.push(batch(&lines)).await;
    let bodies = world.bodies();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(world.receiver.shown(), lines);
}

#[tokio::test(start_paused = true)]
async fn once_loki_can_be_reached_again() {
    let mut world = World::new(Receiver::scripted([]));
    let (receiver, start) = (world.receiver.clone(), Instant::now());
    receiver.set_down(true);
    let comes_up = async {
        tokio::time::sleep(HOUR).await;
        receiver.set_down(false);
    };
    tokio::join!(world.push(batch(&lines(3))), comes_up);
    assert!(start.elapsed() < HOUR + Duration::from_secs(31));
    assert_eq!(world.bodies().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_sooner_than_it_is_asked_to() {
    for (status, header) in [(429, "120"), (503, "120"), (429, "Fri, 20 Feb 2099 22:31:30 GMT")] {
        let asked = Answer::RefusedWith(status, "retry-after", header.to_owned());
        let mut world = World::new(Receiver::scripted([asked]));
        world.push(batch(&lines(3))).await;
        let pushes = world.receiver.pushes();
        let waited = pushes[1].at - pushes[0].at;
        let least = if header == "120" { Duration::from_mins(2) } else { HOUR };
        assert!((least..least + Duration::from_secs(1)).contains(&waited), "{status} {header}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn once_a_new_ca_is_trusted() {
    let (old, new) = (authority(), authority());
    let receiver = Receiver::scripted([]);
    receiver.serve_tls(&old.serving(&["loki.test"], HOUR).unwrap());
    let mut world = World::with(receiver, |settings, dir| {
        settings.url = Uri::from_static("https://loki.test/loki/api/v1/push");
        settings.ca_files = vec![dir.join("ca.crt"), dir.join("absent.crt")];
        std::fs::write(dir.join("ca.crt"), old.cert()).unwrap();
    });
    world.push(batch(&lines(1))).await;
    assert_eq!(world.troubles(), []);

    // The server has the new certificate first. The CA file follows a while later.
    world.receiver.serve_tls(&new.serving(&["loki.test"], HOUR).unwrap());
    world.receiver.set_down(true);
    let (ca, receiver) = (world.dir.path().join("ca.crt"), world.receiver.clone());
    let restarts = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        receiver.set_down(false);
        tokio::time::sleep(Duration::from_mins(5)).await;
        std::fs::write(ca, new.cert()).unwrap();
    };
    let lines = lines(2);
    tokio::join!(world.push(batch(&lines)), restarts);
    assert_eq!(world.receiver.shown(), lines);
    let distrust = |(_, said): &(Trouble, String)| said.contains("invalid peer certificate");
    assert!(world.failures.lock().unwrap().iter().any(distrust), "{:?}", world.failures);
}

fn authority() -> certs::Authority {
    certs::Authority::new("test service CA", HOUR).unwrap()
}
