//! Faults between the sidecar and OpenShift Logging's real gateway.

use std::time::Duration;

use certs::Authority;
use harness::cluster::Cluster;
use harness::gateway::{Gateway, Setup, is_possible};
use harness::receiver::Receiver;
use harness::servers::Servers;
use redis_log_webhook::cluster::rbac::{Access, Accounts, Permission};
use serde_json::json;

use super::sidecar::Sidecar;

const NAMESPACE: &str = "redis-enterprise";
const ACCOUNT: &str = "demo-redis-cluster";

struct World {
    cluster: Cluster,
    gateway: Gateway,
    _receiver: Receiver,
}

impl World {
    async fn new() -> Option<Self> {
        let servers = Servers::find("names_faults").unwrap()?;
        if !is_possible("names_faults").unwrap() {
            return None;
        }
        let (cluster, receiver) = tokio::try_join!(Cluster::start(&servers), Receiver::start()).unwrap();
        let setup = Setup { memory: Duration::from_secs(1), ..Setup::default() };
        let gateway = Gateway::start_with(&servers, &cluster, &receiver.url(), setup).await.unwrap();
        cluster.create_namespace(NAMESPACE, &json!({}), &[ACCOUNT, "default"]).await.unwrap();
        Some(Self { cluster, gateway, _receiver: receiver })
    }

    /// A sidecar of the account that pushes to `url` and trusts the gateway.
    async fn sidecar(&self, url: &str) -> Sidecar {
        let mut sidecar = Sidecar::new(url);
        sidecar.log("dmcproxy.log", 10);
        let token = self.cluster.token(NAMESPACE, ACCOUNT, 3600).await.unwrap();
        let (token, ca) = (sidecar.write("token", &token), sidecar.write("ca.crt", self.gateway.ca()));
        sidecar.flags.push(format!("--token-file={}", token.display()));
        sidecar.flags.push(format!("--ca-file={}", ca.display()));
        sidecar
    }

    /// Lets `account` push, by a binding of this kind.
    async fn grant(&self, account: &str, kind: &str) {
        let permission = Permission {
            namespace: NAMESPACE.to_owned(),
            account_namespace: NAMESPACE.to_owned(),
            accounts: Accounts::One(account.to_owned()),
            tenant: "application".to_owned(),
            access: Access::Write,
        };
        let [role, mut binding] = permission.objects();
        binding["kind"] = json!(kind);
        if kind == "RoleBinding" {
            binding["metadata"]["namespace"] = json!(NAMESPACE);
        }
        self.cluster.apply(&role).await.unwrap();
        self.cluster.apply(&binding).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_whatever_else_is_granted() {
    let Some(world) = World::new().await else { return };
    let url = world.gateway.push_url_of("application");
    world.sidecar(&url).await.names("RBAC missing", "RLS301").await;
    // The sidecar may not read bindings. Only the webhook and its `check` can say why they do not help (RLS302, RLS303).
    world.grant(ACCOUNT, "RoleBinding").await;
    world.sidecar(&url).await.names("RoleBinding in place of ClusterRoleBinding", "RLS301").await;
    world.grant("default", "ClusterRoleBinding").await;
    world.sidecar(&url).await.names("binding names another ServiceAccount", "RLS301").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_url_tenant_token_or_ca_is_named() {
    let Some(world) = World::new().await else { return };
    world.grant(ACCOUNT, "ClusterRoleBinding").await;
    let url = world.gateway.push_url_of("application");
    world.sidecar(&world.gateway.push_url_of("redis")).await.names("wrong tenant", "RLS304").await;
    world.sidecar(&url.replace("/push", "/pull")).await.names("wrong path", "RLS309").await;
    world.sidecar(&url.replace("https:", "http:")).await.names("http in place of https", "RLS310").await;

    let vault = world.sidecar(&url).await;
    vault.write("token", &world.cluster.token_for(NAMESPACE, ACCOUNT, "vault").await.unwrap());
    vault.names("token of another audience", "RLS305").await;
    let none = world.sidecar(&url).await;
    std::fs::remove_file(none.path("token")).unwrap();
    none.names("no token", "RLS306").await;

    let other = world.sidecar(&url).await;
    other.write("ca.crt", Authority::new("another CA", Duration::from_hours(1)).unwrap().cert());
    other.names("wrong CA", "RLS307").await;
    let closed =
        format!("https://localhost:{}/api/logs/v1/application/loki/api/v1/push", harness::free_port().unwrap());
    world.sidecar(&closed).await.names("gateway not reachable", "RLS308").await;
    world.sidecar(&url.replace("localhost", "nowhere.invalid")).await.names("unknown name", "RLS308").await;
}
