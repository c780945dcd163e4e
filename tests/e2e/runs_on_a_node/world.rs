//! The node that all scenarios share, with a store, a Redis Enterprise, and the webhook installed by the README's commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::node::{Node, Parts};
use harness::process::eventually;
use harness::{repository, say};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::receiver::Receiver;
use super::redis::{self, Redis, uid};

/// The names in the README's commands.
pub(crate) const NAMESPACE: &str = "redis-enterprise";
pub(crate) const CLUSTER: &str = "demo-redis-cluster";
const WORKLOAD: [&str; 2] = ["docker.io/redislabs/redis:8.0.20-44.23", "docker.io/redislabs/operator:8.0.20-23"];
const PATIENCE: Duration = Duration::from_mins(1);
/// More configuration than the README's edit: annotations of scenarios name stores and images of their own.
const SCENARIOS: &str = "allowedLokiUrls: ['http://10.99.0.1:*', 'https://10.99.0.1:*']
allowedImages: ['10.99.0.1:1/*']
token: {expirationSeconds: 600}
";

/// The result of the start. If it failed, no scenario tries again.
static WORLD: OnceCell<Result<Option<RwLock<World>>, String>> = OnceCell::const_new();

/// The shared node and its parts.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) receiver: Receiver,
    /// The UID of the README's pod before the README's commands.
    pub(crate) before: String,
    /// A user's edited copy of the manifests.
    pub(crate) checkout: PathBuf,
}

/// The node for a scenario that disturbs no other; `None` if a node cannot run here.
pub(crate) async fn shared() -> Option<RwLockReadGuard<'static, World>> {
    Some(world().await?.read().await)
}

/// The node for a scenario that disturbs others.
pub(crate) async fn alone() -> Option<RwLockWriteGuard<'static, World>> {
    Some(world().await?.write().await)
}

async fn world() -> Option<&'static RwLock<World>> {
    let start =
        || async { World::start().await.map(|world| world.map(RwLock::new)).map_err(|error| format!("{error:#}")) };
    WORLD.get_or_init(start).await.as_ref().unwrap().as_ref()
}

/// Whether to run `scenario`, which takes minutes. If not, prints that it is skipped.
pub(crate) fn is_slow_wanted(scenario: &str) -> bool {
    let wanted = std::env::var_os("NODE").is_some_and(|value| value == "all");
    if !wanted {
        say(&format!("SKIPPED the slow scenario {scenario}: set NODE=all to run it"));
    }
    wanted
}

/// The README's commands for a cluster, in order.
pub(crate) fn commands_of_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Install it in a cluster").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section.lines().filter_map(|line| line.strip_prefix("$ kubectl ")).map(ToOwned::to_owned).collect()
}

impl World {
    async fn start() -> anyhow::Result<Option<Self>> {
        if std::env::var_os("NODE").is_some_and(|value| value == "none") {
            say("SKIPPED runs_on_a_node: NODE=none");
            return Ok(None);
        }
        let Some(parts) = Parts::find("runs_on_a_node")? else { return Ok(None) };
        let image = image()?;
        let start = Instant::now();
        let node = Node::start(&parts, &image, &WORKLOAD).await?;
        say(&format!("node up after {:.1} s", start.elapsed().as_secs_f64()));
        let receiver = Receiver::start(&parts).await?;
        let cluster = node.cluster().await?;
        for object in redis::objects(NAMESPACE, CLUSTER, &json!({}))? {
            cluster.apply(&object).await?;
        }
        let checkout = node.folder("checkout")?;
        check_out(&checkout, &receiver.push_url())?;
        let mut world = Self { node, receiver, before: String::new(), checkout };
        let redis = Redis::of(&world, NAMESPACE, CLUSTER);
        let pod = redis.ready("").await?;
        world.before = uid(&pod).to_owned();
        say(&format!("Redis is Ready after {:.1} s", start.elapsed().as_secs_f64()));
        let start = Instant::now();
        world.run_readme()?;
        world.first_line().await?;
        let (took, receiver) = (start.elapsed().as_secs_f64(), world.receiver.name());
        say(&format!("first line in {receiver} {took:.1} s after README's first command"));
        Ok(Some(world))
    }

    /// Runs the README's commands.
    pub(crate) fn run_readme(&self) -> anyhow::Result<()> {
        for command in commands_of_readme() {
            self.node.kubectl_in(&self.checkout, &command.split_whitespace().collect::<Vec<_>>())?;
        }
        Ok(())
    }

    async fn first_line(&self) -> anyhow::Result<()> {
        let labels = [("job", "redis-enterprise-internal"), ("kubernetes_namespace_name", NAMESPACE)];
        eventually("the first line", PATIENCE, || async {
            Ok((!self.receiver.entries(&labels).await?.is_empty()).then_some(()))
        })
        .await
        .with_context(|| Redis::of(self, NAMESPACE, CLUSTER).describe())
    }
}

/// The archive of our image: `NODE_IMAGE` names it, or `cargo images` writes it.
fn image() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("NODE_IMAGE") {
        return Ok(named.into());
    }
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let out = repository().join("target/images");
    let mut images = Command::new(env!("CARGO_BIN_EXE_images"));
    images.args(["--arch", architecture, "--out"]).arg(&out);
    ensure!(images.status()?.success(), "cargo images failed");
    Ok(out.join(format!("redis-log-shipper-{}-{architecture}.oci.tar", env!("CARGO_PKG_VERSION"))))
}

/// Copies the manifests to `dir`, with the one edit of the README.
fn check_out(dir: &Path, push_url: &str) -> anyhow::Result<()> {
    copy(&repository().join("manifests"), &dir.join("manifests"))?;
    let config = dir.join("manifests/overlays/plain/config.yaml");
    let text = std::fs::read_to_string(&config)?;
    let (before, _) = text.split_once("lokiUrl:").context("no lokiUrl to edit")?;
    std::fs::write(&config, format!("{before}lokiUrl: {push_url}\n{SCENARIOS}"))?;
    Ok(())
}

fn copy(from: &Path, to: &PathBuf) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
