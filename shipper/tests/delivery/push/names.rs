//! Faults of the connection, by their codes.

use findings::Code;
use redis_log_shipper::batch::MetadataSwitch;
use redis_log_shipper::push::{Loki, PushSettings};

use super::world::*;

/// The fault and the code of the first failure over TLS: the server's certificate is for `served`, and the client trusts
/// another authority if `stranger`.
async fn over_tls(served: Option<&str>, stranger: bool) -> (Trouble, Code) {
    let authority = || certs::Authority::new("test service CA", HOUR).unwrap();
    let (serving, other) = (authority(), authority());
    // The server hangs up on a client that speaks TLS to a plain port, and answers what it says.
    let receiver = Receiver::scripted([]);
    if let Some(name) = served {
        receiver.serve_tls(&serving.serving(&[name], HOUR).unwrap());
    }
    let world = World::with(receiver, |settings, dir| {
        settings.url = Uri::from_static("https://loki.test/loki/api/v1/push");
        settings.ca_files = vec![dir.join("ca.crt")];
        std::fs::write(dir.join("ca.crt"), if stranger { other.cert() } else { serving.cert() }).unwrap();
    });
    first_failure(world.loki).await
}

async fn first_failure<D: redis_log_shipper::push::Dial>(mut loki: Loki<D>) -> (Trouble, Code) {
    let (body, entries) = batch(&lines(1));
    let (sender, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let heard = move |failure: &redis_log_shipper::push::Failure<'_>| {
        sender.send((failure.trouble.clone(), failure.finding.code)).unwrap();
    };
    tokio::select! {
        _ = loki.push(&body, entries, heard) => panic!("stored"),
        failure = failures.recv() => failure.unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_a_stranger_or_for_another_name() {
    let untrusted = |fault| (Trouble::NoAnswer(fault), Code::UntrustedCertificate);
    assert_eq!(over_tls(Some("loki.test"), true).await, untrusted(ConnectionFault::UntrustedCertificate));
    assert_eq!(over_tls(Some("other.test"), false).await, untrusted(ConnectionFault::CertificateOfAnotherName));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_speaks_no_tls() {
    let (trouble, code) = over_tls(None, false).await;
    assert_eq!((trouble, code), (Trouble::NoAnswer(ConnectionFault::NoTls), Code::PlainHttp));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_from_the_clock_of_the_server() {
    let refused = Answer::RefusedWith(503, "date", "Fri, 20 Feb 2026 22:31:30 GMT".to_owned());
    let mut world = World::new(Receiver::scripted([refused]));
    assert_eq!(world.loki.clock_skew(), None);
    let ((body, entries), skew) = (batch(&lines(1)), Mutex::new(None));
    let heard = |failure: &redis_log_shipper::push::Failure<'_>| *skew.lock().unwrap() = failure.clock_skew;
    world.loki.push(&body, entries, heard).await;
    assert!(skew.lock().unwrap().unwrap().abs() > 3600);
    // The next answer has the right date.
    assert!(world.loki.clock_skew().unwrap().abs() < 60);
}

#[tokio::test]
async fn a_name_that_does_not_exist_and_a_port_on_which_nothing_listens() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("http://{}/push", taken.local_addr().unwrap());
    drop(taken);
    // The resolver refuses a label of 64 characters without asking a server.
    let unknown = format!("http://{}.test/push", "x".repeat(64));
    for (url, fault) in [(refused, ConnectionFault::Refused), (unknown, ConnectionFault::UnknownName)] {
        let settings =
            PushSettings { url: url.parse().unwrap(), token_file: None, ca_files: Vec::new(), rate_limit: None };
        let loki = Loki::new(settings, MetadataSwitch::default());
        assert_eq!(first_failure(loki).await, (Trouble::NoAnswer(fault), Code::Unreachable));
    }
}
