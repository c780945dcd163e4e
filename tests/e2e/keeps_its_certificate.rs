//! The webhook's own certificate, in one Secret of a real API server. All replicas share one CA, and during a rotation every
//! serving certificate is trusted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::{Kept, Lifetimes, SelfSigned};
use harness::cluster::Cluster;
use harness::held::Held;
use harness::servers::Servers;
use harness::{read_object, repository};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "redis-log-shipper";
const SECRET: &str = "redis-log-webhook-tls";
const REPLICAS: usize = 4;
const PATIENCE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

struct World {
    cluster: Cluster,
    configuration: Value,
}

impl World {
    async fn new(servers: &Servers) -> Self {
        let cluster = Cluster::start(servers).await.unwrap();
        cluster.create_namespace(NAMESPACE, &json!({}), &[]).await.unwrap();
        let configuration = read_object(&repository().join("manifests/base/webhook-configuration.yaml")).unwrap();
        cluster.apply(&configuration).await.unwrap();
        Self { cluster, configuration }
    }

    fn replica(&self) -> SelfSigned {
        SelfSigned {
            client: self.cluster.client.clone(),
            namespace: NAMESPACE.to_owned(),
            secret: SECRET.to_owned(),
            configuration: "redis-log-shipper".to_owned(),
            names: vec!["redis-log-webhook.redis-log-shipper.svc".to_owned()],
            lifetimes: Lifetimes::default(),
        }
    }

    /// Lets all replicas check at once, and returns what each keeps.
    async fn all_keep(&self, now: SystemTime) -> Vec<Kept> {
        let replica = self.replica();
        let looks = (0..REPLICAS).map(|_| replica.keep(now));
        futures::future::join_all(looks).await.into_iter().map(Result::unwrap).collect()
    }

    /// The bundle that the API server trusts.
    async fn told(&self) -> String {
        let (api, name) = self.cluster.api_of(&self.configuration).unwrap();
        let told = api.get(&name).await.unwrap().data["webhooks"][0]["clientConfig"]["caBundle"].clone();
        String::from_utf8(STANDARD.decode(told.as_str().unwrap_or_default()).unwrap()).unwrap()
    }

    /// The value of `key` in the Secret.
    async fn kept(&self, key: &str) -> String {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        String::from_utf8(api.get(SECRET).await.unwrap().data.unwrap()[key].0.clone()).unwrap()
    }
}

fn authorities(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_share_one_ca_which_the_api_server_is_told() {
    let Some(servers) = Servers::find("keeps_its_certificate").unwrap() else { return };
    let world = World::new(&servers).await;
    let now = SystemTime::now();
    let kept = world.all_keep(now).await;
    assert!(kept.iter().all(|other| *other == kept[0]), "replicas differ");
    assert_eq!(authorities(&kept[0].bundle), 1);
    // All but one lost the race for the webhook configuration. The next check adds the missing bundle.
    world.all_keep(now).await;
    assert_eq!(world.told().await, kept[0].bundle);
    assert_eq!(world.kept("tls.crt").await, kept[0].pair.cert);

    // Somebody applies the webhook configuration again, without a caBundle or with another one.
    world.cluster.apply(&world.configuration).await.unwrap();
    let mut other = world.configuration.clone();
    other["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(ca()));
    world.cluster.apply(&other).await.unwrap();
    world.all_keep(now).await;
    assert_eq!(world.told().await, kept[0].bundle);

    // A deleted Secret is created again, once.
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), NAMESPACE);
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    let anew = world.all_keep(now).await;
    assert!(anew.iter().all(|other| *other == anew[0]) && anew[0] != kept[0]);
    world.all_keep(now).await;
    assert_eq!(world.told().await, anew[0].bundle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_trusts_both_cas_while_they_change() {
    let Some(servers) = Servers::find("keeps_its_certificate").unwrap() else { return };
    let world = World::new(&servers).await;
    let start = SystemTime::now();
    let first = world.all_keep(start).await.remove(0);
    let mut bundles = vec![first.bundle.clone()];
    let (mut leaf, mut leaves) = (first.pair.cert.clone(), 1);
    // A year and a half, every ten days.
    for look in 1..=55 {
        let now = start + HOUR * 240 * look;
        // Twice, because a replica that loses a race checks again.
        world.all_keep(now).await;
        let kept = world.all_keep(now).await.remove(0);
        let told = world.told().await;
        assert_eq!(told, kept.bundle, "look {look}");
        if bundles.last() != Some(&told) {
            bundles.push(told);
        }
        if kept.pair.cert != leaf {
            (leaf, leaves) = (kept.pair.cert, leaves + 1);
        }
    }
    let sizes: Vec<_> = bundles.iter().map(|bundle| authorities(bundle)).collect();
    assert_eq!(sizes, [1, 2, 1, 2, 1], "two rotations, both CAs during each");
    assert!(bundles[1].ends_with(&bundles[0]) && bundles[1].starts_with(&bundles[2]), "the newest comes first");
    assert!(leaves > 6, "{leaves}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_puts_no_older_bundle_over_a_newer_one() {
    let Some(servers) = Servers::find("keeps_its_certificate").unwrap() else { return };
    let world = World::new(&servers).await;
    let now = SystemTime::now();
    let held = Held::default();
    let replica = SelfSigned { client: held.client(world.cluster.client.clone()), ..world.replica() };
    let slow = tokio::spawn(async move { replica.keep(now).await });
    tokio::time::timeout(PATIENCE, held.arrived()).await.unwrap();
    // It is about to publish the first CA, and the others have already published a second one.
    let kept = world.all_keep(now + HOUR * 24 * 400).await.remove(0);
    world.all_keep(now + HOUR * 24 * 400).await;
    assert_eq!(authorities(&kept.bundle), 1, "all of it had expired by then");
    held.let_through();
    slow.await.unwrap().unwrap();
    assert_eq!(held.answers(), [409]);
    assert_eq!(world.told().await, kept.bundle);
}

fn ca() -> String {
    certs::Authority::new("somebody else's", HOUR).unwrap().cert().to_owned()
}
