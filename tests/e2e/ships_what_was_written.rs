//! From the injected pod to the query. The shipper starts as the injected container specifies and pushes through OpenShift
//! Logging's gateway, despite missing permissions, rotations and SIGKILL. The store is VictoriaLogs, and also a real Loki if
//! there is one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::gateway::{Gateway, Setup, is_possible};
use harness::installation::Installation;
use harness::kubelet::Container;
use harness::pod_fixture;
use harness::process::{eventually, keep_log};
use harness::programs::program;
use harness::servers::{Servers, loki};
use harness::store::Store;
use harness::writer::{LogFile, difference};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const NAMESPACE: &str = "redis-enterprise";
const PATIENCE: Duration = Duration::from_mins(1);
/// How often the shipper is killed.
const KILLS: usize = 8;
const JOB: (&str, &str) = ("job", "redis-enterprise-internal");
/// How long the gateway caches who may push. Short, so that a grant takes effect soon.
const MEMORY: Duration = Duration::from_secs(5);

/// A cluster, a gateway, a store and an injected pod.
struct World {
    cluster: Cluster,
    store: Store,
    _gateway: Gateway,
    _installation: Installation,
    /// The disk of the pod's node.
    node: tempfile::TempDir,
    pod: Value,
}

impl World {
    async fn new(servers: &Servers, store: Store) -> anyhow::Result<Self> {
        let cluster = Cluster::start(servers).await?;
        let setup = Setup { memory: MEMORY, ..Setup::default() };
        let gateway = Gateway::start_with(servers, &cluster, &store.api(), setup).await?;
        let installation = Installation::start(&cluster, &gateway.push_url()).await?;
        let opted_in = json!({"redis-log-shipper.io/inject": "enabled"});
        cluster.create_namespace(NAMESPACE, &opted_in, &["demo-redis-cluster"]).await?;
        // Every namespace of a real cluster has both. The first is not the gateway's CA.
        let root_ca = certs::Authority::new("test root CA", Duration::from_hours(1))?;
        cluster.create_config_map(NAMESPACE, "kube-root-ca.crt", &json!({"ca.crt": root_ca.cert()})).await?;
        let service_ca = json!({"service-ca.crt": gateway.ca()});
        cluster.create_config_map(NAMESPACE, "openshift-service-ca.crt", &service_ca).await?;
        let pod = pod_fixture("b-openshift")?;
        let pod = cluster.create_pod(NAMESPACE, &pod, false).await?;
        Ok(Self { cluster, store, _gateway: gateway, _installation: installation, node: tempfile::tempdir()?, pod })
    }

    fn container(&self) -> anyhow::Result<Container<'_>> {
        Container::new(&self.pod, "log-shipper", self.node.path())
    }

    fn start_shipper(&self, binary: &Path) -> anyhow::Result<Shipper> {
        let log = self.node.path().join("shipper.log");
        let command = self.container()?.command(binary)?;
        let output = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::from(command).stderr(output).kill_on_drop(true).spawn()?;
        Ok(Shipper(child))
    }

    fn shipper_log(&self) -> String {
        std::fs::read_to_string(self.node.path().join("shipper.log")).unwrap_or_default()
    }

    async fn grant(&self) -> anyhow::Result<()> {
        let rbac = std::process::Command::new(program("redis-log-webhook")?)
            .args(["rbac", "--namespace", NAMESPACE, "--service-account", "demo-redis-cluster"])
            .output()?;
        for object in serde_saphyr::from_multiple::<Value>(&String::from_utf8(rbac.stdout)?)? {
            self.cluster.apply(&object).await?;
        }
        Ok(())
    }

    /// Waits until the store shows the last line of every file, then compares all of them.
    async fn assert_shipped(&self, files: &[LogFile]) -> anyhow::Result<()> {
        for file in files {
            let labels = [JOB, ("log_file", file.stem)];
            let what = format!("all lines of {} in {}", file.stem, self.store.name());
            let complete = eventually(&what, PATIENCE, || async {
                let lines = self.store.stored(&labels).await?.lines();
                Ok((lines.len() >= file.written.len() && lines.last() == file.written.last()).then_some(()))
            });
            let complete = complete.await;
            match difference(&file.written, &self.store.stored(&labels).await?.entries) {
                Some(what) => anyhow::bail!("{}: {what}\n{}", file.stem, self.shipper_log()),
                None => complete?,
            }
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_log(&self.node.path().join("shipper.log"));
        }
    }
}

struct Shipper(Child);

impl Shipper {
    async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }

    /// Ends it with SIGTERM, as the kubelet does, and returns its exit code.
    async fn terminate(mut self) -> Option<i32> {
        let pid = self.0.id().unwrap().to_string();
        std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        tokio::time::timeout(PATIENCE, self.0.wait()).await.unwrap().unwrap().code()
    }
}

/// The servers, if everything that a test needs is there.
fn servers() -> Option<Servers> {
    let servers = Servers::find("ships_what_was_written").unwrap()?;
    is_possible("ships_what_was_written").unwrap().then_some(servers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ships_what_was_written_once_it_may() {
    let Some(servers) = servers() else { return };
    let store = Store::victoria_logs(&servers.victoria_logs).await.unwrap();
    ships_once_it_may(&servers, store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_loki_ships_what_was_written_once_it_may() {
    let (Some(servers), Some(binary)) = (servers(), loki()) else { return };
    let store = Store::loki(&binary).await.unwrap();
    ships_once_it_may(&servers, store).await;
}

async fn ships_once_it_may(servers: &Servers, store: Store) {
    let world = World::new(servers, store).await.unwrap();
    let binary = program("redis-log-shipper").unwrap();
    let container = world.container().unwrap();
    container.make_volumes(&world.cluster).await.unwrap();
    let mut files = LogFile::open_all(&container.path("/var/opt/redislabs/log")).unwrap();
    for file in &mut files {
        file.write(10).unwrap();
    }

    // Without the permission nothing is lost. The log names the missing permission and the command that grants it.
    let shipper = world.start_shipper(&binary).unwrap();
    eventually("the log names the missing permission", PATIENCE, || async {
        let log = world.shipper_log();
        Ok(log.contains("lacks the permission to create application.loki.grafana.com/logs").then_some(log))
    })
    .await
    .map(|log| {
        let command =
            "redis-log-webhook rbac --namespace redis-enterprise --service-account demo-redis-cluster --tenant application";
        assert!(log.contains(command), "{command} missing in:\n{log}");
    })
    .unwrap();
    assert!(world.store.stored(&[JOB]).await.unwrap().entries.is_empty());

    // With the permission the lines arrive by themselves.
    world.grant().await.unwrap();
    world.assert_shipped(&files).await.unwrap();

    // The shipper is killed again and again while every file is written and rotated. No line is missing, none is shown twice.
    let mut shipper = shipper;
    for kill in 0..KILLS {
        write_and_rotate(&mut files, kill).await;
        shipper.kill().await;
        // It finds lines and rotations of the time when it was down.
        write_and_rotate(&mut files, kill + 1).await;
        shipper = world.start_shipper(&binary).unwrap();
        if kill % 3 == 2 {
            // Ten rotated files are kept. A shipper that is down for longer loses the oldest.
            world.assert_shipped(&files).await.unwrap();
        }
    }
    write_and_rotate(&mut files, 0).await;
    world.assert_shipped(&files).await.unwrap();

    let written: usize = files.iter().map(|file| file.written.len()).sum();
    let stored = world.store.stored(&[JOB]).await.unwrap();
    let shown = stored.lines().len();
    harness::say(&format!(
        "{}: {written} lines written, {shown} shown in {} entries, {} entries resent",
        world.store.name(),
        stored.entries.len(),
        stored.resent
    ));
    assert_eq!(shown, written);

    // After SIGTERM it ships the remaining lines and ends.
    for file in &mut files {
        file.write(5).unwrap();
    }
    assert_eq!(shipper.terminate().await, Some(0));
    world.assert_shipped(&files).await.unwrap();
}

/// Writes to all files for a while. Rotates each of them once, at different moments and in both ways.
async fn write_and_rotate(files: &mut [LogFile], round: usize) {
    for step in 0..10 {
        for (i, file) in files.iter_mut().enumerate() {
            file.write(20).unwrap();
            if (i + round) % 10 == step {
                let rotate = if (i + round).is_multiple_of(3) {
                    LogFile::rotate_by_rename
                } else {
                    LogFile::rotate_by_copytruncate
                };
                rotate(file).unwrap();
            }
        }
        // This spreads the load, so that kills and rotations happen at different moments. It waits for nothing.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
