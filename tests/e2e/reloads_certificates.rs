//! A mounted Secret changes again and again while reviews arrive on new connections, and no review fails.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use certs::{Authority, CERT_FILE, KEY_FILE, PemPair, ServingCert};
use harness::process::{Process, eventually};
use harness::programs::program;
use harness::review::review_of;
use harness::{http, pod_fixture};
use redis_log_webhook::cluster::asking::Asking;
use redis_log_webhook::cluster::knowledge::Knowledge;
use redis_log_webhook::config::Config;
use redis_log_webhook::connections::Limits;
use redis_log_webhook::events::Events;
use redis_log_webhook::metrics::Metrics;
use redis_log_webhook::server::{Webhook, serve};
use tokio_util::sync::CancellationToken;

const SWAPS: u32 = 25;
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// Replaces a pair as the kubelet does: a new directory, one rename, and the old directory is removed.
fn swap(mount: &Path, generation: u32, pair: &PemPair) {
    let folder = mount.join(format!("..{generation}"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(CERT_FILE), &pair.cert).unwrap();
    std::fs::write(folder.join(KEY_FILE), &pair.key).unwrap();
    symlink(format!("..{generation}"), mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if let Some(before) = generation.checked_sub(1) {
        std::fs::remove_dir_all(mount.join(format!("..{before}"))).unwrap();
    } else {
        for file in [CERT_FILE, KEY_FILE] {
            symlink(Path::new("..data").join(file), mount.join(file)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_review_fails_while_the_mounted_certificate_is_replaced() {
    let ca = Authority::new("test", Duration::from_hours(100)).unwrap();
    let mount = tempfile::tempdir().unwrap();
    // The expiry identifies the pair.
    let lifetime = |generation: u32| Duration::from_hours(1) * (generation + 1);
    swap(mount.path(), 0, &ca.serving(&["localhost"], lifetime(0)).unwrap());
    let cert = ServingCert::read(mount.path()).unwrap();

    let shutdown = CancellationToken::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://localhost:{}/mutate", listener.local_addr().unwrap().port());
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let config = Arc::new(ArcSwap::from_pointee(Config::default()));
    let leaving = CancellationToken::new();
    let webhook = Webhook {
        config,
        events: Events::nowhere(metrics.clone()),
        asking: Asking::default(),
        knowledge: Knowledge::default(),
        metrics,
        leaving,
    };
    let tls = cert.server_config().unwrap();
    let server = tokio::spawn(serve(listener, tls, Limits::default(), webhook, shutdown.clone()));
    let (expiry, bad) = (Arc::new(Mutex::new(cert.expires().unwrap())), Arc::new(AtomicUsize::new(0)));
    let (told, faults) = (expiry.clone(), bad.clone());
    let watch = cert.watch(
        Duration::from_millis(1),
        move |cert, good| {
            *told.lock().unwrap() = cert.expires().unwrap();
            faults.fetch_add(usize::from(!good), Ordering::Relaxed);
        },
        shutdown.clone(),
    );
    tokio::spawn(watch);

    let (done, reviewed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let review = review_of(&pod_fixture("a-vanilla").unwrap());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (url, review, ca) = (url.clone(), review.clone(), ca.cert().to_owned());
            let (done, reviewed) = (done.clone(), reviewed.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    // A new client makes a new handshake.
                    let client = http::client(Some(&ca)).unwrap();
                    let (status, _) = http::post_json(&client, &url, &review).await.unwrap();
                    assert_eq!(status, hyper::StatusCode::OK);
                    reviewed.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for generation in 1..=SWAPS {
        let before = reviewed.load(Ordering::Relaxed);
        let expected = SystemTime::now() + lifetime(generation) - Duration::from_mins(1);
        swap(mount.path(), generation, &ca.serving(&["localhost"], lifetime(generation)).unwrap());
        eventually("the new certificate is served, and reviews go on", PATIENCE, || async {
            let is_served = *expiry.lock().unwrap() > expected;
            Ok((is_served && reviewed.load(Ordering::Relaxed) > before).then_some(()))
        })
        .await
        .unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(bad.load(Ordering::Relaxed), 0, "a swap was taken for a fault");
    shutdown.cancel();
    server.await.unwrap().unwrap();
}

/// The real webhook with a certificate in a directory of the test.
struct Running {
    process: Process,
    dir: tempfile::TempDir,
    admin: String,
}

impl Running {
    async fn with(pair: &PemPair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admin = format!("127.0.0.1:{}", harness::free_port().unwrap());
        write(dir.path(), pair);
        let mut command = std::process::Command::new(program("redis-log-webhook").unwrap());
        command
            .args(["serve", "--listen=127.0.0.1:0", &format!("--admin-listen={admin}"), "--cert-dir"])
            .arg(dir.path())
            .env("KUBECONFIG", dir.path().join("no-kubeconfig"));
        let process = Process::start("redis-log-webhook", &command, dir.path()).unwrap();
        let running = Self { process, dir, admin };
        eventually("it is alive", PATIENCE, || async { Ok(running.get("/live").await.ok()) }).await.unwrap();
        running
    }

    async fn get(&self, path: &str) -> anyhow::Result<(hyper::StatusCode, String)> {
        let (status, body) = http::get(&http::client(None)?, &format!("http://{}{path}", self.admin)).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Waits for a line of its log with `text`.
    async fn says(&self, text: &str) -> String {
        eventually(&format!("it says {text}"), PATIENCE, || async {
            Ok(self.process.log().lines().find(|line| line.contains(text)).map(str::to_owned))
        })
        .await
        .unwrap()
    }

    async fn is_ready(&self, ready: bool) {
        eventually(&format!("ready: {ready}"), PATIENCE, || async {
            Ok((self.get("/ready").await?.0.is_success() == ready).then_some(()))
        })
        .await
        .unwrap();
    }
}

fn write(dir: &Path, pair: &PemPair) {
    std::fs::write(dir.join(CERT_FILE), &pair.cert).unwrap();
    std::fs::write(dir.join(KEY_FILE), &pair.key).unwrap();
}

#[tokio::test]
async fn is_not_ready_with_an_expired_certificate_and_says_when_it_expires() {
    let ca = Authority::new("test", Duration::from_hours(1)).unwrap();
    let a_minute_ago = SystemTime::now() - Duration::from_mins(1);
    let running = Running::with(&ca.serving_at(&["localhost"], Duration::ZERO, a_minute_ago).unwrap()).await;
    running.says("the certificate has expired").await;
    assert_eq!(running.get("/ready").await.unwrap().0, hyper::StatusCode::SERVICE_UNAVAILABLE);
    let seconds = a_minute_ago.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (_, metrics) = running.get("/metrics").await.unwrap();
    let gauge = format!("redis_log_webhook_certificate_expiry_timestamp {seconds}");
    assert!(metrics.contains(&gauge), "no {gauge}");

    write(running.dir.path(), &ca.serving(&["localhost"], Duration::from_hours(1)).unwrap());
    running.is_ready(true).await;
}

#[tokio::test]
async fn goes_on_with_the_last_good_pair_and_logs_which_file_is_at_fault_and_why() {
    let ca = Authority::new("test", Duration::from_hours(1)).unwrap();
    let pair = || ca.serving(&["localhost"], Duration::from_hours(1)).unwrap();
    let running = Running::with(&pair()).await;
    running.is_ready(true).await;
    // Another certificate with the key of the first one.
    std::fs::write(running.dir.path().join(CERT_FILE), pair().cert).unwrap();
    let line = running.says("failed to use the new certificate; still serving the last valid one").await;
    for file in [CERT_FILE, KEY_FILE] {
        let path = running.dir.path().join(file).display().to_string();
        assert!(line.contains(&path), "{path} is not in {line}");
    }
    assert!(line.contains("KeyMismatch"), "no reason in {line}");
    assert!(running.get("/ready").await.unwrap().0.is_success());
    let (_, metrics) = running.get("/metrics").await.unwrap();
    assert!(metrics.contains("redis_log_webhook_certificate_good 0"), "{metrics}");
}
