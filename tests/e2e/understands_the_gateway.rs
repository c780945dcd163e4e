//! The client against OpenShift Logging's real gateway: the client understands each refusal, and pushes once it has the
//! permission.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use crate::pushing::{Client, Stream};
use findings::Code;
use harness::cluster::Cluster;
use harness::gateway::{Gateway, Setup, is_possible};
use harness::programs::program;
use harness::receiver::Receiver;
use harness::servers::Servers;
use redis_log_shipper::push::ConnectionFault;
use redis_log_shipper::push::answer::Trouble;
use redis_log_shipper::push::rejections::Rejections;
use serde_json::{Value, json};
use tempfile::TempDir;

const NAMESPACE: &str = "redis-enterprise";
const ACCOUNT: &str = "demo-redis-cluster";
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the gateway caches an answer. Short, because a test waits for a change; the real one caches for a minute.
const MEMORY: Duration = Duration::from_secs(2);

/// A gateway between a cluster and the strict receiver.
struct World {
    cluster: Cluster,
    receiver: Receiver,
    gateway: Gateway,
    dir: TempDir,
}

impl World {
    async fn new(setup: Setup) -> Option<Self> {
        let servers = Servers::find("understands_the_gateway").unwrap()?;
        if !is_possible("understands_the_gateway").unwrap() {
            return None;
        }
        let (cluster, receiver) = tokio::try_join!(Cluster::start(&servers), Receiver::start()).unwrap();
        let setup = Setup { memory: MEMORY, ..setup };
        let gateway = Gateway::start_with(&servers, &cluster, &receiver.url(), setup).await.unwrap();
        cluster.create_namespace(NAMESPACE, &json!({}), &[ACCOUNT]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.crt"), gateway.ca()).unwrap();
        let world = Self { cluster, receiver, gateway, dir };
        let token = world.cluster.token(NAMESPACE, ACCOUNT, 3600).await.unwrap();
        std::fs::write(world.dir.path().join("token"), token).unwrap();
        Some(world)
    }

    /// A client with the account's token.
    fn client(&self) -> Client {
        self.client_of(&self.gateway.push_url_of("application"), "token")
    }

    fn client_of(&self, url: &str, token: &str) -> Client {
        let file = |name: &str| self.dir.path().join(name);
        Client::with(url, Some(file(token)), vec![file("ca.crt")])
    }

    /// Applies the output of our own command, which lets the account push to the tenant `application`.
    async fn grant(&self) {
        let rbac = Command::new(program("redis-log-webhook").unwrap())
            .args(["rbac", "--namespace", NAMESPACE, "--service-account", ACCOUNT])
            .output()
            .unwrap();
        for object in serde_saphyr::from_multiple::<Value>(&String::from_utf8(rbac.stdout).unwrap()).unwrap() {
            self.cluster.apply(&object).await.unwrap();
        }
    }

    fn shown(&self, stream: &Stream) -> Vec<String> {
        self.receiver.stored(&[("log_file", stream.name)]).lines()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_a_bad_token_from_a_missing_permission_and_an_unknown_tenant_and_pushes_once_it_may() {
    let Some(world) = World::new(Setup::default()).await else { return };
    let stream = Stream::new("dmcproxy", 100);

    // An unknown token, or none: the gateway redirects to its login page.
    std::fs::write(world.dir.path().join("garbage"), "no.such.token").unwrap();
    let application = world.gateway.push_url_of("application");
    let anonymous = Client::with(&application, None, vec![world.dir.path().join("ca.crt")]);
    let mut codes = Vec::new();
    for mut client in [world.client_of(&application, "garbage"), anonymous] {
        let (trouble, said, finding) = client.first_finding(&stream).await;
        assert_eq!(trouble, Trouble::Login, "{said}");
        codes.push(finding.code);
    }

    assert_eq!(codes, [Code::TokenRefused, Code::NoToken]);

    // A valid token of an account that may not push: this version answers 403 with an empty body.
    let (trouble, said, finding) = world.client().first_finding(&stream).await;
    assert_eq!((trouble, said.as_str()), (Trouble::Forbidden, "403 Forbidden"));
    assert_eq!(finding.code, Code::MayNotPush);
    assert!(finding.fix.contains(&format!("--namespace {NAMESPACE} --service-account {ACCOUNT}")), "{finding}");

    // A token for another audience.
    let other = world.cluster.token_for(NAMESPACE, ACCOUNT, "vault").await.unwrap();
    std::fs::write(world.dir.path().join("audience"), other).unwrap();
    let (trouble, said, finding) = world.client_of(&application, "audience").first_finding(&stream).await;
    assert_eq!((trouble, finding.code), (Trouble::Login, Code::TokenRefused), "{said}");
    assert!(finding.problem.contains("it is for the audience vault"), "{finding}");

    // A tenant that does not exist.
    let unknown = world.gateway.push_url_of("redis");
    let (trouble, said, finding) = world.client_of(&unknown, "token").first_finding(&stream).await;
    assert_eq!((trouble, finding.code), (Trouble::Unauthorized, Code::UnknownTenant));
    assert!(said.contains("tenant not found, have you registered it?"), "{said}");

    // A wrong path, and http instead of https.
    let elsewhere = application.replace("/push", "/pull");
    let (trouble, said, finding) = world.client_of(&elsewhere, "token").first_finding(&stream).await;
    assert_eq!((trouble, finding.code), (Trouble::WrongUrl, Code::WrongPath), "{said}");
    let (trouble, said, finding) = Client::new(&application.replace("https:", "http:")).first_finding(&stream).await;
    assert_eq!((trouble, finding.code), (Trouble::PlainHttp, Code::PlainHttp), "{said}");

    // A client that trusts no CA.
    let (trouble, said, finding) = Client::new(&application).first_finding(&stream).await;
    let untrusted = Trouble::NoAnswer(ConnectionFault::UntrustedCertificate);
    assert_eq!((trouble, finding.code), (untrusted, Code::UntrustedCertificate), "{said}");

    // After the grant the client continues by itself, once the gateway asks again.
    assert!(world.shown(&stream).is_empty());
    world.grant().await;
    let mut client = world.client();
    assert_eq!(client.push(&stream).await, Rejections::default());
    assert_eq!(world.shown(&stream), stream.lines(|_| false));
    let denied = |(trouble, _): &(Trouble, String)| *trouble == Trouble::Forbidden;
    assert!(client.failures.lock().unwrap().iter().all(denied), "{:?}", client.failures);
    assert!(world.receiver.faults().is_empty(), "{:#?}", world.receiver.faults());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_while_the_store_or_the_helper_is_down() {
    let Some(mut world) = World::new(Setup::default()).await else { return };
    world.grant().await;
    let stream = Stream::new("dmcproxy", 100);
    world.receiver.stop();
    let (trouble, said) = world.client().first_failure(&stream).await;
    assert_eq!((trouble, said.as_str()), (Trouble::Unavailable(None), "502 Bad Gateway"));
    world.receiver.restart().await.unwrap();
    assert_eq!(world.client().push(&stream).await, Rejections::default());
    assert_eq!(world.shown(&stream), stream.lines(|_| false));

    world.gateway.opa.stop();
    let another = Stream::new("supervisord", 100);
    let (trouble, said) = world.client().first_failure(&another).await;
    assert_eq!((trouble, said.as_str()), (Trouble::Unavailable(None), "500 Internal Server Error"));
    assert!(world.shown(&another).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backs_off_when_the_gateway_has_no_room() {
    let Some(world) = World::new(Setup { concurrent: 1, ..Setup::default() }).await else { return };
    world.grant().await;
    let (held, refused) = (Stream::new("dmcproxy", 100), Stream::new("supervisord", 100));
    world.receiver.hold();
    let (mut client, mut other) = (world.client(), world.client());
    let holding = async {
        world.receiver.holds_one().await;
        let (trouble, said) = other.first_failure(&refused).await;
        world.receiver.let_through();
        (trouble, said)
    };
    let both = async { tokio::join!(client.push(&held), holding) };
    let (rejections, (trouble, said)) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(rejections, Rejections::default());
    // This version answers 503, newer ones 429.
    assert_eq!(trouble, Trouble::GatewayBusy(None), "{said}");
    assert!(said.contains("Server capacity exceeded."), "{said}");
    assert_eq!(other.push(&refused).await, Rejections::default());
    for stream in [held, refused] {
        assert_eq!(world.shown(&stream), stream.lines(|_| false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_where_the_cluster_has_no_oauth_server() {
    let Some(world) = World::new(Setup { oauth: false, ..Setup::default() }).await else { return };
    world.grant().await;
    // This version then never knows its tenants, so it refuses even a valid token.
    let (trouble, said) = world.client().first_failure(&Stream::new("dmcproxy", 100)).await;
    assert_eq!(trouble, Trouble::Unauthorized);
    assert!(said.contains("tenant not found, have you registered it?"), "{said}");
}
