//! The permissions of the gateway, what running sidecars say, and the permissions of an installation.

use std::process::Command;
use std::time::Duration;

use harness::http;
use harness::process::{Process, eventually};
use harness::programs::program;
use harness::servers::Servers;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use redis_log_webhook::cluster::rbac::{Access, Accounts, Permission};
use serde_json::{Value, json};

use super::world::{OPTED_IN, World};

const GATEWAY: &str = "https://gateway.example/api/logs/v1/{tenant}/loki/api/v1/push";
const PATIENCE: Duration = Duration::from_secs(30);

fn grant(namespace: &str, account: &str) -> [Value; 2] {
    let (namespace, tenant) = (namespace.to_owned(), "application".to_owned());
    let accounts = Accounts::One(account.to_owned());
    Permission { account_namespace: namespace.clone(), namespace, accounts, tenant, access: Access::Write }.objects()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_what_keeps_an_account_from_pushing() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::pushing_to(&servers, GATEWAY).await;
    for namespace in ["none", "narrow", "other"] {
        world.cluster.create_namespace(namespace, &json!({OPTED_IN: "enabled"}), &["rec"]).await.unwrap();
        world.create_pod(namespace, "rec-0").await;
    }
    let only = async |namespace: &str| world.check(&["--namespace", namespace]).await.codes();
    assert_eq!([only("none").await, only("narrow").await, only("other").await].concat(), ["RLS301"; 3]);

    let [role, mut binding] = grant("narrow", "rec");
    binding["kind"] = json!("RoleBinding");
    binding["metadata"]["namespace"] = json!("narrow");
    let [_, other] = grant("other", "somebody");
    let [_, right] = grant("none", "rec");
    for object in [role, binding, other, right] {
        world.cluster.apply(&object).await.unwrap();
    }
    assert_eq!([only("none").await, only("narrow").await, only("other").await].concat(), ["RLS302", "RLS303"]);
    let report = world.check(&[]).await;
    let check = "ServiceAccount none/rec may push to the tenant application";
    assert_eq!((report.result(check), report.succeeded), (Some("ok"), false), "{report:#?}");
}

/// The API server refuses to connect to loopback addresses, so this takes another address of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_what_a_running_sidecar_says() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    // The API server refuses to call a pod on loopback.
    let Some(address) = address() else {
        harness::say("SKIPPED repeats_what_a_running_sidecar_says: this machine has only a loopback address");
        return;
    };
    let world = World::new(&servers).await;
    world.create_pod("redis", "rec-0").await;
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    std::fs::write(logs.join("dmcproxy.log"), "one line\n").unwrap();
    let mut command = Command::new(program("redis-log-shipper").unwrap());
    command
        .arg("run")
        .arg("--log-dir")
        .arg(&logs)
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .args(["--loki-url=http://127.0.0.1:1/loki/api/v1/push", &format!("--listen={address}:9464")]);
    let _shipper = Process::start("redis-log-shipper", &command, dir.path()).unwrap();
    let (client, url) = (http::client(None).unwrap(), format!("http://{address}:9464/status"));
    eventually("a push fails", PATIENCE, || async {
        let Ok((_, body)) = http::get(&client, &url).await else { return Ok(None) };
        let status: Value = serde_json::from_slice(&body)?;
        Ok((!status["trouble"].is_null()).then_some(()))
    })
    .await
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), "redis");
    let running = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [{
        "name": "log-shipper", "image": "a", "imageID": "a", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }]}});
    pods.patch_status("rec-0", &PatchParams::default(), &Patch::Merge(running)).await.unwrap();
    let report = world.check(&[]).await;
    assert_eq!(report.codes(), ["RLS308"], "{report:#?}");
    assert!(report.problems()[0].starts_with("pod redis/rec-0: "), "{report:#?}");
}

/// The address with which this machine would send. Nothing is sent.
fn address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|it| it.ip()).filter(|ip| !ip.is_loopback())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_before_an_installation_what_an_account_may_not_create() {
    let Some(servers) = Servers::find("checks_a_cluster").unwrap() else { return };
    let world = World::new(&servers).await;
    let report = world.check(&["--pre"]).await;
    assert_eq!(report.codes(), [""; 0], "{report:#?}");
    assert_eq!(report.result("Kubernetes 1.27 or newer"), Some("ok"));
    world.cluster.create_namespace("people", &json!({}), &["nobody"]).await.unwrap();
    let report = world.check_as("people", "nobody", &["--pre"]).await;
    assert!(report.codes().contains(&"RLS109".to_owned()) && !report.succeeded, "{report:#?}");
    let problems = report.problems();
    let missing = "your account lacks for MutatingWebhookConfiguration: create \
                   mutatingwebhookconfigurations.admissionregistration.k8s.io";
    assert!(problems.iter().any(|problem| problem.starts_with(missing)), "{problems:#?}");
    let role = "your account lacks for clusterrole/redis-log-webhook-step-aside: list pods";
    assert!(problems.iter().any(|problem| problem.starts_with(role)), "{problems:#?}");
}
