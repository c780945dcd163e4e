//! The webhook under load: the real program on loopback, with its CPU time and memory.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use certs::Authority;
use harness::process::eventually;
use harness::programs::program;
use harness::{free_port, http};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::usage::Usage;

const LIFETIME: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_secs(10);
/// A running webhook; killed on drop.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The port for reviews.
    pub(crate) port: u16,
    /// The CA of its certificate, as PEM.
    pub(crate) ca: String,
    pid: u32,
    _child: Child,
    _dir: TempDir,
}

impl Subject {
    /// Starts the webhook with a temporary certificate and waits until it is ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let ca = Authority::new("load CA", LIFETIME)?;
        let pair = ca.serving(&["localhost"], LIFETIME)?;
        std::fs::write(dir.path().join(certs::CERT_FILE), pair.cert)?;
        std::fs::write(dir.path().join(certs::KEY_FILE), pair.key)?;
        let log = dir.path().join("redis-log-webhook.log");
        let (port, admin_port) = (free_port()?, free_port()?);
        let mut child = Command::new(program("redis-log-webhook")?)
            .arg("serve")
            .args(["--cert-dir".as_ref(), dir.path().as_os_str()])
            .args([format!("--listen=127.0.0.1:{port}"), format!("--admin-listen=127.0.0.1:{admin_port}")])
            // It must not find a real cluster, where it would create Events.
            .env("KUBECONFIG", dir.path().join("no-kubeconfig"))
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stderr(std::fs::File::create(&log)?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the webhook")?;
        let (client, ready) = (http::client(None)?, format!("http://127.0.0.1:{admin_port}/ready"));
        tokio::select! {
            ready = eventually("the webhook is ready", PATIENCE, || async {
                let answer = http::get(&client, &ready).await;
                Ok(answer.is_ok_and(|(status, _)| status.is_success()).then_some(()))
            }) => ready?,
            ended = child.wait() => {
                let log = std::fs::read_to_string(&log)?;
                anyhow::bail!("the webhook ended ({}) before it was ready:\n{log}", ended?);
            }
        }
        let pid = child.id().context("the webhook has no process id")?;
        Ok(Self { port, ca: ca.cert().to_owned(), pid, _child: child, _dir: dir })
    }

    /// Its usage so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid)
    }
}
