//! OpenShift Logging's real gateway in front of a store. It asks a real API server who may push to which tenant.
//!
//! The binary is the newest version that is published as a Go module (2023). Only its helper [`Opa`] is ours. The gateway
//! expects to run in a pod of OpenShift. So it gets a ServiceAccount's directory, in a mount namespace of its own, and an
//! API server on port 443 that knows the OAuth server. Both need root.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use certs::Authority;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::opa::{MEMORY, Opa};
use crate::process::Process;
use crate::servers::{Servers, skip_for};
use crate::{free_port, http};

/// The tenants of a LokiStack in `openshift-logging` mode.
const TENANTS: [&str; 3] = ["application", "infrastructure", "audit"];
const LIFETIME: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_mins(1);
/// Runs `"$@"` with a copy of `$0` as the ServiceAccount's directory.
const IN_A_POD: &str = r#"mount -t tmpfs tmpfs /var/run && mkdir -p /var/run/secrets/kubernetes.io/serviceaccount &&
cp "$0"/* /var/run/secrets/kubernetes.io/serviceaccount/ && exec "$@""#;

/// The settings of a gateway that differ between tests.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How long it caches who may push.
    pub memory: Duration,
    /// How many requests it serves at a time.
    pub concurrent: u32,
    /// Whether the cluster has OpenShift's own OAuth server.
    pub oauth: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { memory: MEMORY, concurrent: 10_000, oauth: true }
    }
}

/// A running gateway; ends with its owner.
#[derive(Debug)]
pub struct Gateway {
    /// Its helper.
    pub opa: Opa,
    port: u16,
    ca: Authority,
    oauth: Handle<SocketAddr>,
    process: Process,
    _dir: TempDir,
}

/// Whether a gateway can run here. If not, prints that `test` is skipped.
pub fn is_possible(test: &str) -> anyhow::Result<bool> {
    let namespace = Command::new("unshare").args(["--mount", "true"]).output();
    let may_mount = namespace.is_ok_and(|output| output.status.success());
    if may_mount && std::net::TcpListener::bind((next_address(), 443)).is_ok() {
        return Ok(true);
    }
    let why = "the gateway needs a mount namespace and port 443 of a loopback address";
    skip_for(test, why, "run the tests as root")?;
    Ok(false)
}

impl Gateway {
    /// Starts a gateway that asks `cluster` and pushes to `api`, the URL before `/loki/api/v1/push`.
    pub async fn start(servers: &Servers, cluster: &Cluster, api: &str) -> anyhow::Result<Self> {
        Self::start_with(servers, cluster, api, Setup::default()).await
    }

    /// As [`Self::start`], with another set-up.
    pub async fn start_with(servers: &Servers, cluster: &Cluster, api: &str, setup: Setup) -> anyhow::Result<Self> {
        let ca = Authority::new("test service CA", LIFETIME)?;
        let dir = tempfile::tempdir()?;
        let opa = Opa::start(cluster.client.clone(), setup.memory).await?;
        let (kubernetes, oauth) = serve_oauth(&ca, setup.oauth).await?;
        let port = free_port()?;
        let account = write_account(dir.path(), &ca)?;
        let tls = ca.serving(&["localhost", "127.0.0.1"], LIFETIME)?;
        let file = |name: &str, content: &str| -> anyhow::Result<String> {
            let path = dir.path().join(name);
            std::fs::write(&path, content)?;
            Ok(path.display().to_string())
        };
        let tenants = tenants(cluster, &opa, port);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", IN_A_POD, &account])
            .arg(&servers.gateway)
            .args([format!("-web.listen=127.0.0.1:{port}"), format!("-web.internal.listen=127.0.0.1:{}", free_port()?)])
            .arg("-web.healthchecks.url=")
            // No store here has tenants, and VictoriaLogs expects a number in X-Scope-OrgID.
            .arg("-logs.tenant-header=X-Tenant")
            .args([format!("-logs.write.endpoint={api}"), format!("-logs.read.endpoint={api}")])
            .arg(format!("-tenants.config={}", file("tenants.json", &tenants)?))
            .arg(format!("-rbac.config={}", file("rbac.json", r#"{"roles": [], "roleBindings": []}"#)?))
            .arg(format!("-tls.server.cert-file={}", file("tls.crt", &tls.cert)?))
            .arg(format!("-tls.server.key-file={}", file("tls.key", &tls.key)?))
            .arg(format!("-middleware.concurrent-request-limit={}", setup.concurrent))
            .env("KUBERNETES_SERVICE_HOST", kubernetes.to_string());
        let process = Process::start("gateway", &command, dir.path())?;
        let mut gateway = Self { opa, port, ca, oauth, process, _dir: dir };
        gateway.wait_until_ready(setup.oauth).await?;
        Ok(gateway)
    }

    /// The push URL, with `{tenant}` for the tenant.
    pub fn push_url(&self) -> String {
        self.push_url_of("{tenant}")
    }

    /// The push URL of a tenant.
    pub fn push_url_of(&self, tenant: &str) -> String {
        format!("https://localhost:{}/api/logs/v1/{tenant}/loki/api/v1/push", self.port)
    }

    /// The CA that signed its certificate, the cluster's service CA.
    pub fn ca(&self) -> &str {
        self.ca.cert()
    }

    /// Waits until the gateway knows every tenant: it then redirects a push without a token to a login page. Without OAuth it
    /// never knows one.
    async fn wait_until_ready(&mut self, oauth: bool) -> anyhow::Result<()> {
        let client = http::client(Some(self.ca.cert()))?;
        let expected = if oauth { StatusCode::FOUND } else { StatusCode::UNAUTHORIZED };
        let urls = TENANTS.map(|tenant| self.push_url_of(tenant));
        let is_ready = || async {
            for url in &urls {
                let Ok(request) = Request::post(url).body(Full::default()) else { return false };
                let answer = http::send(&client, request).await;
                if !answer.is_ok_and(|(status, _)| status == expected) {
                    return false;
                }
            }
            true
        };
        self.process.wait_until(PATIENCE, is_ready).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.oauth.shutdown();
    }
}

/// The configuration of every tenant; JSON is YAML.
fn tenants(cluster: &Cluster, opa: &Opa, port: u16) -> String {
    let tenants = TENANTS.map(|tenant| {
        json!({
            "name": tenant,
            "id": tenant,
            "authenticator": {"type": "openshift", "config": {
                "serviceAccount": "logging-loki-gateway",
                "kubeConfigPath": cluster.kubeconfig,
                "redirectURL": format!("https://localhost:{port}/openshift/{tenant}/callback"),
                "cookieSecret": "0123456789abcdef",
            }},
            "opa": {"url": opa.url(), "withAccessToken": true},
        })
    });
    json!({"tenants": tenants}).to_string()
}

/// What the kubelet mounts into a pod.
fn write_account(dir: &Path, ca: &Authority) -> anyhow::Result<String> {
    let account = dir.join("serviceaccount");
    std::fs::create_dir(&account)?;
    for (name, content) in [("ca.crt", ca.cert()), ("namespace", "openshift-logging"), ("token", "unused")] {
        std::fs::write(account.join(name), content)?;
    }
    Ok(account.display().to_string())
}

/// A loopback address that no other test process uses.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Serves the one page of the API server that the gateway itself reads: the address of OpenShift's OAuth server.
async fn serve_oauth(ca: &Authority, known: bool) -> anyhow::Result<(Ipv4Addr, Handle<SocketAddr>)> {
    let address = next_address();
    let pair = ca.serving(&[&address.to_string()], LIFETIME)?;
    let tls = RustlsConfig::from_pem(pair.cert.into_bytes(), pair.key.into_bytes()).await?;
    let endpoint = |name: &str| format!("https://oauth-openshift.example/oauth/{name}");
    let page = json!({"authorization_endpoint": endpoint("authorize"), "token_endpoint": endpoint("token")});
    let routes = if known {
        Router::new().route("/.well-known/oauth-authorization-server", get(|| async { axum::Json(page) }))
    } else {
        Router::new()
    };
    let listener =
        std::net::TcpListener::bind((address, 443)).with_context(|| format!("failed to listen on {address}:443"))?;
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
    tokio::spawn(server.serve(routes.into_make_service()));
    handle.listening().await.context("the OAuth page is not served")?;
    Ok((address, handle))
}
