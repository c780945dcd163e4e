//! Entries that are held until a person changes something.

use super::world::*;

#[tokio::test(start_paused = true)]
async fn while_loki_takes_pushes_and_stores_nothing() {
    let blocked = Answer::refused(260, "ingestion blocked for user 'fake' until '2026-02-21T00:00:00Z'");
    holds_and_resends(blocked, Trouble::Blocked).await;
    holds_and_resends(Answer::refused(202, ""), Trouble::Blocked).await;
}

#[tokio::test(start_paused = true)]
async fn while_another_program_answers_instead_of_loki() {
    for foreign in ["<html>Log in</html>", r#"{"status":"ok"}"#, "stored, thank you"] {
        holds_and_resends(Answer::refused(200, foreign), Trouble::Unexpected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_url_is_wrong() {
    holds_and_resends(Answer::refused(404, "404 page not found"), Trouble::WrongUrl).await;
    holds_and_resends(Answer::refused(405, ""), Trouble::WrongUrl).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_400_or_422_for_the_whole_request() {
    let labels = Answer::refused(400, "couldn't parse labels: 1:4: parse error: unexpected \"}\"");
    holds_and_resends(labels, Trouble::BadRequest).await;
    holds_and_resends(Answer::refused(422, "no"), Trouble::Unexpected).await;
}

#[tokio::test(start_paused = true)]
async fn for_an_hour_without_permission_and_goes_on_once_it_is_granted() {
    let start = Instant::now();
    let mut world = World::with_token(Receiver::new(move |_| {
        if start.elapsed() < HOUR {
            Answer::refused(403, "You don't have permission to access this tenant")
        } else {
            Answer::Stored
        }
    }));
    let lines = lines(3);
    world.push(batch(&lines)).await;
    assert_eq!(world.receiver.shown(), lines);
    let waited = start.elapsed();
    assert!((HOUR..HOUR + Duration::from_mins(1)).contains(&waited), "{waited:?}");
    let (asked, bodies) = (world.troubles().len(), world.bodies());
    assert!((60..150).contains(&asked), "{asked}");
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test(start_paused = true)]
async fn while_a_token_is_refused_and_sends_the_rotated_one() {
    for refusal in [Answer::refused(401, ""), Answer::refused(403, ""), Answer::refused(302, "")] {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "one").unwrap();
        let rotated = token.clone();
        let receiver = Receiver::new(move |push| {
            std::fs::write(&rotated, "two").unwrap();
            if push.token.as_deref() == Some("Bearer two") { Answer::Stored } else { refusal.clone() }
        });
        let mut world = World::with(receiver, |settings, _| settings.token_file = Some(token));
        world.push(batch(&lines(3))).await;
        let tokens: Vec<_> = world.receiver.pushes().into_iter().filter_map(|push| push.token).collect();
        assert_eq!(tokens, ["Bearer one", "Bearer two"]);
    }
}

#[tokio::test(start_paused = true)]
async fn while_there_is_no_token_to_send() {
    let mut world = World::with_token(Receiver::scripted([]));
    let token = world.token();
    std::fs::remove_file(&token).unwrap();
    let appears = async {
        tokio::time::sleep(HOUR).await;
        std::fs::write(&token, "one").unwrap();
    };
    tokio::join!(world.push(batch(&lines(3))), appears);
    assert!(world.troubles().iter().all(|trouble| *trouble == Trouble::NoToken));
    let pushes = world.receiver.pushes();
    assert_eq!((pushes.len(), pushes[0].token.as_deref()), (1, Some("Bearer one")));
}

#[tokio::test(start_paused = true)]
async fn after_a_redirect_that_it_never_follows() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Answer::RefusedWith(status, "location", "http://elsewhere.test/login".to_owned());
        let mut world = World::with_token(Receiver::scripted([elsewhere]));
        world.push(batch(&lines(3))).await;
        assert_eq!(world.troubles(), [Trouble::Login]);
        assert!(world.receiver.dialed().iter().all(|host| host == "loki.test"), "{status}");
        assert!(world.receiver.pushes().iter().all(|push| push.method == Method::POST), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn and_does_not_blame_a_token_that_was_accepted_a_moment_ago() {
    let log = Log::default();
    let _guard = log.listen();
    let login = Answer::refused(302, r#"{"error":"failed to find token"}"#);
    let mut world = World::with_token(Receiver::scripted([login.clone(), Answer::Stored, login.clone(), login]));
    world.push(batch(&lines(1))).await;
    assert!(log.take().contains("the gateway does not accept the token"));
    world.push(batch(&lines(2))).await;
    assert!(log.take().contains("look at the API server first"));
    // No token has been accepted since the change.
    std::fs::write(world.token(), "two").unwrap();
    tokio::time::advance(HOUR).await;
    let login = Answer::refused(302, "");
    world.receiver.answer_with(login);
    world.push(batch(&lines(3))).await;
    assert!(log.take().contains("the gateway does not accept the token"));
}

#[tokio::test(start_paused = true)]
async fn and_repeats_no_secret_that_an_answer_quotes() {
    let log = Log::default();
    let _guard = log.listen();
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZWMifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    let quoted = format!("no: POST /push?key=hunter22 authorization: Bearer {token} user-agent: x");
    let mut world = World::with(
        Receiver::scripted([Answer::refused(400, &quoted), Answer::refused(403, &quoted)]),
        |settings, dir| {
            settings.url = Uri::from_static("http://loki.test/push?key=hunter22");
            settings.token_file = Some(dir.join("token"));
            std::fs::write(dir.join("token"), token).unwrap();
        },
    );
    world.push(batch(&lines(1))).await;
    let said = log.take();
    let kept: String = world.failures.lock().unwrap().iter().map(|(_, said)| said.as_str()).collect();
    for text in [said, kept] {
        assert!(text.contains("user-agent: x"), "{text}");
        for secret in ["hunter22", "eyJhbGciOiJ", "c2lnbmF0dXJl"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
