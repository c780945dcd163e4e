//! `redis-log-shipper check` against OpenShift Logging's real gateway and a real Loki: each fault is made for real, and named by
//! its code.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::Authority;
use harness::cluster::Cluster;
use harness::gateway::{Gateway, Setup, is_possible};
use harness::loki::Loki;
use harness::programs::program;
use harness::receiver::Receiver;
use harness::servers::{Servers, loki};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const NAMESPACE: &str = "redis-enterprise";
const ACCOUNT: &str = "demo-redis-cluster";
/// How long the gateway caches an answer. Short, because the test waits for a grant.
const MEMORY: std::time::Duration = std::time::Duration::from_secs(1);
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// A directory with log files, and flags that lead to a Loki or a gateway.
struct Pod {
    dir: TempDir,
    url: String,
    token: &'static str,
    ca: &'static str,
}

/// What one `check` said.
struct Said {
    report: Value,
    status: Option<i32>,
}

impl Pod {
    fn new(url: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("logs/dmcproxy.log"), "2026-02-20 22:32:39,415 INFO x: y\n").unwrap();
        Self { dir, url, token: "token", ca: "ca.crt" }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    async fn output(&self, further: &[&str]) -> Output {
        let flag = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let mut command = Command::new(program("redis-log-shipper").unwrap());
        command.args(["check", &flag("log-dir", "logs"), &flag("state-dir", "state"), "--loki-url", &self.url]);
        if self.url.starts_with("https") {
            command.args([flag("token-file", self.token), flag("ca-file", self.ca)]);
        }
        command.args(further).kill_on_drop(true).output().await.unwrap()
    }

    async fn check(&self) -> Said {
        let output = self.output(&["-o", "json"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        for secret in ["token", "expired", "vault"] {
            let secret = std::fs::read_to_string(self.path(secret)).unwrap_or_default();
            assert!(secret.is_empty() || !text.contains(&secret), "the report holds a token");
        }
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            unreachable!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
        });
        Said { report, status: output.status.code() }
    }
}

impl Said {
    /// Group, result and code of every check that did not pass and was made.
    fn found(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for group in self.report["groups"].as_array().unwrap() {
            let codes = group["checks"].as_array().unwrap().iter().filter_map(|check| check["code"].as_str());
            found.extend(codes.map(|code| (group["name"].as_str().unwrap(), code)));
        }
        found
    }

    fn of(&self, group: &str, check: &str) -> &Value {
        let groups = self.report["groups"].as_array().unwrap();
        let group = groups.iter().find(|found| found["name"] == group).unwrap();
        let checks = group["checks"].as_array().unwrap();
        checks.iter().find(|found| found["check"] == check).unwrap_or_else(|| unreachable!("{check} is not in {group}"))
    }

    #[track_caller]
    fn finds(&self, found: &[(&str, &str)]) {
        assert_eq!(self.found(), found, "{:#}", self.report);
        assert_eq!(self.status, Some(i32::from(!found.is_empty())));
    }
}

/// A pod behind a gateway that asks a real API server.
async fn behind_a_gateway() -> Option<(Pod, Cluster, Gateway, Receiver)> {
    let servers = Servers::find("checks_from_the_sidecar").unwrap()?;
    if !is_possible("checks_from_the_sidecar").unwrap() {
        return None;
    }
    let (cluster, receiver) = tokio::try_join!(Cluster::start(&servers), Receiver::start()).unwrap();
    let setup = Setup { memory: MEMORY, ..Setup::default() };
    let gateway = Gateway::start_with(&servers, &cluster, &receiver.url(), setup).await.unwrap();
    cluster.create_namespace(NAMESPACE, &json!({}), &[ACCOUNT]).await.unwrap();
    let pod = Pod::new(gateway.push_url_of("application"));
    pod.write("ca.crt", gateway.ca());
    pod.write("token", &cluster.token(NAMESPACE, ACCOUNT, 3600).await.unwrap());
    Some((pod, cluster, gateway, receiver))
}

/// What `redis-log-webhook rbac` prints, which the fix names.
async fn grant(cluster: &Cluster) {
    let mut rbac = Command::new(program("redis-log-webhook").unwrap());
    let rbac = rbac.args(["rbac", "--namespace", NAMESPACE, "--service-account", ACCOUNT]).output().await.unwrap();
    for object in serde_saphyr::from_multiple::<Value>(&String::from_utf8(rbac.stdout).unwrap()).unwrap() {
        cluster.apply(&object).await.unwrap();
    }
}

/// A token with these claims that nobody signed.
fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({"alg": "RS256", "kid": "x"})), part(claims), URL_SAFE_NO_PAD.encode("signature"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_what_the_gateway_refuses_by_its_code_and_passes_once_it_may_push() {
    let Some((mut pod, cluster, gateway, receiver)) = behind_a_gateway().await else { return };
    let application = gateway.push_url_of("application");

    let said = pod.check().await;
    said.finds(&[("push", "RLS301")]);
    let fix = said.of("push", "an empty push is accepted")["fix"].as_str().unwrap();
    let rbac =
        format!("redis-log-webhook rbac --namespace {NAMESPACE} --service-account {ACCOUNT} --tenant application");
    assert!(fix.contains(&rbac), "{fix}");

    grant(&cluster).await;
    harness::process::eventually("a granted push", PATIENCE, || async {
        Ok(pod.check().await.found().is_empty().then_some(()))
    })
    .await
    .unwrap();
    let said = pod.check().await;
    said.finds(&[]);
    let certificate = said.of("gateway", "certificate is trusted")["detail"].as_str().unwrap();
    for part in ["for localhost, 127.0.0.1", "issued by CN=test service CA", "valid until"] {
        assert!(certificate.contains(part), "{certificate}");
    }
    let subject = said.of("token", &format!("token file {}", pod.path("token").display()))["detail"].as_str().unwrap();
    assert_eq!(subject, format!("of system:serviceaccount:{NAMESPACE}:{ACCOUNT}"));

    pod.url = gateway.push_url_of("redis");
    pod.check().await.finds(&[("push", "RLS304")]);
    pod.url = application.replace("/push", "/pull");
    pod.check().await.finds(&[("push", "RLS309")]);
    pod.url = application.replace("https:", "http:");
    pod.check().await.finds(&[("push", "RLS310")]);
    pod.url = application.replace("localhost", "nowhere.invalid");
    let said = pod.check().await;
    said.finds(&[("gateway", "RLS308")]);
    // What a failed step makes impossible is not wrong.
    assert_eq!(said.of("push", "an empty push is accepted")["result"], "skip");
    pod.url = application;

    pod.token = "expired";
    let subject = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    pod.write("expired", &unsigned(&json!({"sub": subject, "exp": 1_700_000_000, "iss": "i", "aud": ["i"]})));
    pod.check().await.finds(&[("token", "RLS305"), ("push", "RLS305")]);
    pod.token = "vault";
    pod.write("vault", &cluster.token_for(NAMESPACE, ACCOUNT, "vault").await.unwrap());
    let said = pod.check().await;
    said.finds(&[("token", "RLS305"), ("push", "RLS305")]);
    assert!(said.of("token", "token is for the API server")["problem"].as_str().unwrap().contains("vault"));
    pod.token = "none";
    pod.check().await.finds(&[("token", "RLS306"), ("push", "RLS306")]);
    pod.token = "token";

    pod.ca = "other.crt";
    pod.write("other.crt", Authority::new("another CA", std::time::Duration::from_hours(1)).unwrap().cert());
    let said = pod.check().await;
    said.finds(&[("gateway", "RLS307")]);
    let problem = said.of("gateway", "certificate is trusted")["problem"].as_str().unwrap();
    assert!(problem.contains("issued by CN=test service CA"), "{problem}");
    assert!(receiver.faults().is_empty(), "{:#?}", receiver.faults());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_passes_and_pushes_no_line() {
    let Some(binary) = loki() else { return };
    let mut loki = Loki::start(&binary).await.unwrap();
    let pod = Pod::new(loki.push_url());
    let said = pod.check().await;
    said.finds(&[]);
    assert_eq!(said.of("push", "the clock agrees with the server")["result"], "ok");
    let streams = loki.query().lines(r#"{log_file=~".+"}"#).await.unwrap();
    assert!(streams.is_empty(), "{streams:?}");
    assert!(!pod.path("state").exists());

    loki.kill();
    pod.check().await.finds(&[("gateway", "RLS308")]);
}
