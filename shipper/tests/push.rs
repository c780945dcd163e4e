//! The client against a Loki in memory that answers as it is told: nothing is acknowledged that is not stored, nothing is
//! dropped but what nobody takes. The clock is paused: an hour passes in a moment.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod receiver;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Uri};
use receiver::{Answer, Push, Receiver};
use redis_log_shipper::answer::Trouble;
use redis_log_shipper::batch::{BatchBuffer, MetadataSwitch};
use redis_log_shipper::push::{Loki, PushSettings};
use redis_log_shipper::rejections::{Reason, Rejections};
use tokio::time::Instant;

const LABELS: &str = r#"{job="redis", log_file="dmcproxy"}"#;
const HOUR: Duration = Duration::from_hours(1);

/// A client of a receiver, and what it heard of failures.
struct World {
    receiver: Receiver,
    loki: Loki<Receiver>,
    metadata: MetadataSwitch,
    failures: Mutex<Vec<(Trouble, String)>>,
    dir: tempfile::TempDir,
}

impl World {
    fn new(receiver: Receiver) -> Self {
        Self::with(receiver, |_, _| {})
    }

    /// With other settings; files are looked for in the directory.
    fn with(receiver: Receiver, change: impl FnOnce(&mut PushSettings, &std::path::Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = Uri::from_static("http://loki.test/api/logs/v1/application/loki/api/v1/push");
        let mut settings = PushSettings { url, token_file: None, ca_files: Vec::new(), rate_limit: None };
        change(&mut settings, dir.path());
        let metadata = MetadataSwitch::default();
        let loki = Loki::over(receiver.clone(), settings, metadata.clone());
        Self { receiver, loki, metadata, failures: Mutex::default(), dir }
    }

    /// With a token file that holds `one`.
    fn with_token(receiver: Receiver) -> Self {
        let world = Self::with(receiver, |settings, dir| settings.token_file = Some(dir.join("token")));
        std::fs::write(world.token(), "one").unwrap();
        world
    }

    fn token(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    async fn push(&mut self, (body, entries): (Bytes, usize)) -> Rejections {
        let failures = &self.failures;
        let heard = |failure: &redis_log_shipper::push::Failure<'_>| {
            failures.lock().unwrap().push((failure.trouble.clone(), failure.said.to_owned()));
        };
        self.loki.push(&body, entries, heard).await
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.failures.lock().unwrap().iter().map(|(trouble, _)| trouble.clone()).collect()
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.receiver.pushes().into_iter().map(|push| push.body).collect()
    }
}

/// A batch of these lines, and how many they are.
fn batch(lines: &[String]) -> (Bytes, usize) {
    let mut buffer = BatchBuffer::new(64 << 20);
    buffer.start(LABELS, "dmcproxy.log");
    for (time, line) in lines.iter().enumerate() {
        buffer.push(i64::try_from(time).unwrap(), line.as_bytes());
    }
    (buffer.seal(LABELS).0, lines.len())
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("2026-02-20 22:31:07,000 INFO line {number}")).collect()
}

/// Answers `text` to whatever holds a line with `poison` in it, and stores the rest.
fn refuses(poison: &'static str, status: u16, text: &'static str) -> impl FnMut(&Push) -> Answer {
    move |push| {
        if push.streams.is_empty() {
            return Answer::refused(422, "error at least one valid stream is required for ingestion");
        }
        let poisoned = push.lines().any(|line| line.contains(poison));
        if poisoned { Answer::refused(status, text) } else { Answer::Stored }
    }
}

/// The outcome is that of the second answer, and both pushes were the same bytes.
async fn holds_and_resends(answer: Answer, trouble: Trouble) {
    let mut world = World::new(Receiver::scripted([answer.clone()]));
    let lines = lines(3);
    assert_eq!(world.push(batch(&lines)).await, Rejections::default(), "{answer:?}");
    assert_eq!(world.troubles(), [trouble], "{answer:?}");
    let [first, second] = <[Bytes; 2]>::try_from(world.bodies()).unwrap();
    assert_eq!(first, second, "{answer:?}");
    assert_eq!(world.receiver.shown(), lines, "{answer:?}");
}

mod acknowledges {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_stored_and_pushes_it_once() {
        for status in [200, 204] {
            let mut world = World::new(Receiver::scripted([Answer::refused(status, "")]));
            world.push(batch(&lines(3))).await;
            assert_eq!((world.bodies().len(), world.troubles().len()), (1, 0), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_whose_text_breaks_off() {
        let slow = Answer::After(Duration::from_secs(29), Box::new(Answer::Stored));
        let mut world = World::new(Receiver::scripted([slow]));
        world.push(batch(&lines(3))).await;
        assert_eq!((world.bodies().len(), world.troubles().len()), (1, 0));
    }
}

mod holds {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn while_loki_takes_pushes_and_stores_nothing() {
        let blocked = Answer::refused(260, "ingestion blocked for user 'fake' until '2026-02-21T00:00:00Z'");
        holds_and_resends(blocked, Trouble::Blocked).await;
        holds_and_resends(Answer::refused(202, ""), Trouble::Blocked).await;
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_page_answers_instead_of_loki() {
        holds_and_resends(Answer::refused(200, "<html>Log in</html>"), Trouble::Unexpected).await;
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
        assert!(world.troubles().iter().all(|trouble| *trouble == Trouble::Login));
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
}

mod resends {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_bytes_after_trouble_that_passes() {
        for status in [500, 502, 503, 504, 408] {
            holds_and_resends(Answer::refused(status, ""), Trouble::Unavailable(None)).await;
        }
        holds_and_resends(Answer::refused(429, ""), Trouble::Throttled { after: None, over: false }).await;
        holds_and_resends(Answer::Reset, Trouble::NoAnswer).await;
        holds_and_resends(Answer::Nothing, Trouble::NoAnswer).await;
        let late = Answer::After(Duration::from_secs(31), Box::new(Answer::refused(204, "")));
        holds_and_resends(late, Trouble::NoAnswer).await;
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

        // The server is first with the new certificate; the bundle that trusts it comes a while later.
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
}

mod splits {
    use super::*;

    /// Bodies over the limit are too large.
    fn at_most(limit: usize, answer: Answer) -> Receiver {
        Receiver::new(move |push| if push.body.len() > limit { answer.clone() } else { Answer::Stored })
    }

    /// Lines that no compression makes smaller.
    fn noise(count: usize, len: usize) -> Vec<String> {
        let hex = |_| char::from_digit(rand::random_range(0..16), 16).unwrap();
        (0..count).map(|_| (0..len).map(hex).collect()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_until_it_is_taken() {
        for answer in [Answer::refused(413, ""), Answer::refused(400, "compressed message size 9 exceeds limit 8")] {
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
        // Not once is tried again what the answer says can never be.
        assert!(world.bodies().windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_throttled_again_and_again_for_reasons_unsaid() {
        let lines = noise(10, 500);
        let mut world = World::new(at_most(1000, Answer::refused(429, "slow down")));
        world.push(batch(&lines)).await;
        assert_eq!(world.receiver.shown(), lines);
    }
}

mod goes_on {
    use super::*;

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
    async fn without_the_only_entry_of_a_batch_where_an_empty_push_is_taken() {
        let mut world = World::new(Receiver::new(refuses("poison", 400, "Bad Request")));
        assert_eq!(world.push(batch(&["poison".to_owned()])).await, Rejections::of(Reason::Other, 1));
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
}

mod drops_nothing {
    use super::*;

    /// How long nothing is taken.
    const WHILE: Duration = Duration::from_mins(5);

    /// `answer` to everything for a while.
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
}

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
