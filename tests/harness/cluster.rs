//! A real Kubernetes API server over a real etcd, on loopback, with temporary certificates and data.
//!
//! It enforces RBAC, issues tokens for ServiceAccounts and calls mutating webhooks. There is no scheduler, no kubelet and no
//! controller manager, so nothing runs the pods or creates the `ConfigMap`s of a namespace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use certs::Authority;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, ServiceAccount};
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::free_port;
use crate::process::Process;
use crate::servers::Servers;

const LIFETIME: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_mins(1);
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
"rules": [{"level": "Metadata"}]}"#;
/// Limits the API servers that run at once. Each takes half a gigabyte of memory, and one processor while it starts.
static PLACES: Semaphore = Semaphore::const_new(4);
const ISSUER: &str = "https://kubernetes.default.svc";

/// A running API server.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Cluster {
    /// A client with an administrator's rights.
    pub client: kube::Client,
    /// A kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// The CA of its certificate, as PEM.
    pub ca: String,
    server: String,
    audit: Option<PathBuf>,
    // Dropped in this order: the API server, etcd, their data, their place. `None` if the caller runs the API server.
    _parts: Option<(Process, Process, TempDir, SemaphorePermit<'static>)>,
}

impl Cluster {
    /// Starts etcd and the API server, and waits until it is ready.
    pub async fn start(servers: &Servers) -> anyhow::Result<Self> {
        Self::start_with(servers, false).await
    }

    /// As [`Self::start`], with an audit log.
    pub async fn start_audited(servers: &Servers) -> anyhow::Result<Self> {
        Self::start_with(servers, true).await
    }

    async fn start_with(servers: &Servers, audited: bool) -> anyhow::Result<Self> {
        let place = PLACES.acquire().await?;
        let dir = tempfile::tempdir()?;
        let (etcd, etcd_url) = start_etcd(servers, dir.path())?;
        let ca = Authority::new("test API server", LIFETIME)?;
        let admin = ca.client("admin", "system:masters", LIFETIME)?;
        let serving = ca.serving(&["127.0.0.1", "localhost"], LIFETIME)?;
        // A separate key signs tokens. The certificate only carries its public half.
        let signing = ca.serving(&["service-accounts"], LIFETIME)?;
        let file = |name: &str, content: &str| -> anyhow::Result<String> {
            let path = dir.path().join(name);
            std::fs::write(&path, content)?;
            Ok(path.display().to_string())
        };
        let ca_file = file("ca.crt", ca.cert())?;
        let (admin_cert, admin_key) = (file("admin.crt", &admin.cert)?, file("admin.key", &admin.key)?);
        let signing_key = file("service-accounts.key", &signing.key)?;
        let signing_cert = file("service-accounts.crt", &signing.cert)?;
        let port = free_port()?;
        let mut command = Command::new(&servers.kube_apiserver);
        command
            .arg(format!("--etcd-servers={etcd_url}"))
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")])
            .arg(format!("--cert-dir={}", dir.path().display()))
            .arg(format!("--tls-cert-file={}", file("apiserver.crt", &serving.cert)?))
            .arg(format!("--tls-private-key-file={}", file("apiserver.key", &serving.key)?))
            .arg(format!("--client-ca-file={ca_file}"))
            .arg(format!("--service-account-issuer={ISSUER}"))
            .arg(format!("--service-account-key-file={signing_cert}"))
            .arg(format!("--service-account-signing-key-file={signing_key}"))
            .args(["--authorization-mode=RBAC,Node", "--service-cluster-ip-range=10.0.0.0/24"])
            .arg("--enable-admission-plugins=MutatingAdmissionWebhook");
        let audit = audited.then(|| dir.path().join("audit.log"));
        if let Some(log) = &audit {
            let policy = file("audit-policy.json", AUDIT_POLICY)?;
            command.args([format!("--audit-policy-file={policy}"), format!("--audit-log-path={}", log.display())]);
        }
        let mut apiserver = Process::start("kube-apiserver", &command, dir.path())?;
        let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse()?);
        config.root_cert_file = Some(ca_file.clone().into());
        config.auth_info.client_certificate = Some(admin_cert.clone());
        config.auth_info.client_key = Some(admin_key.clone());
        let client = kube::Client::try_from(config)?;
        apiserver
            .wait_until(PATIENCE, || {
                let client = client.clone();
                async move { is_ready(&client).await }
            })
            .await?;
        let kubeconfig = dir.path().join("kubeconfig");
        let server = format!("https://127.0.0.1:{port}");
        let user = json!({"client-certificate": admin_cert, "client-key": admin_key});
        std::fs::write(&kubeconfig, kubeconfig_text(&server, &ca_file, &user))?;
        let ca = ca.cert().to_owned();
        Ok(Self { client, kubeconfig, ca, server, audit, _parts: Some((apiserver, etcd, dir, place)) })
    }

    /// A cluster that already runs at `server`, with the administrator of `kubeconfig`.
    pub(crate) async fn of(server: &str, kubeconfig: &Path, ca: String) -> anyhow::Result<Self> {
        let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
        let client = kube::Client::try_from(config)?;
        Ok(Self { client, kubeconfig: kubeconfig.to_owned(), ca, server: server.to_owned(), audit: None, _parts: None })
    }

    /// A kubeconfig with the token in `token_file` and the CA in `ca_file`.
    pub fn kubeconfig_of(&self, token_file: &Path, ca_file: &Path) -> String {
        kubeconfig_text(&self.server, &ca_file.display().to_string(), &json!({"tokenFile": token_file}))
    }

    /// The audit events of all requests so far. Fails if the cluster is not audited.
    pub fn audit(&self) -> anyhow::Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.audit.as_ref().context("this cluster is not audited")?)?;
        // The last line may be half written.
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Creates a namespace with these labels, and ServiceAccounts for its pods.
    pub async fn create_namespace(&self, name: &str, labels: &Value, accounts: &[&str]) -> anyhow::Result<()> {
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        let namespace: Namespace = serde_json::from_value(namespace)?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        for account in accounts {
            let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": account}}))?;
            api.create(&PostParams::default(), &account).await?;
        }
        Ok(())
    }

    /// Puts `data` into a ConfigMap.
    pub async fn create_config_map(&self, namespace: &str, name: &str, data: &Value) -> anyhow::Result<()> {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}, "data": data}))?;
        Api::namespaced(self.client.clone(), namespace).create(&PostParams::default(), &map).await?;
        Ok(())
    }

    /// Creates a pod and returns it as the API server stored it, or would store it without the dry run.
    pub async fn create_pod(&self, namespace: &str, pod: &Value, dry_run: bool) -> anyhow::Result<Value> {
        let mut pod = pod.clone();
        if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        let api = self.dynamic("", "v1", "Pod", Some(namespace));
        let pod: DynamicObject = serde_json::from_value(pod)?;
        let created = api.create(&PostParams { dry_run, ..PostParams::default() }, &pod).await?;
        Ok(serde_json::to_value(created)?)
    }

    /// The names of a namespace's pods.
    pub async fn pods(&self, namespace: &str) -> anyhow::Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(&kube::api::ListParams::default()).await?;
        Ok(pods.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    /// A namespace's pods.
    pub async fn whole_pods(&self, namespace: &str) -> anyhow::Result<Vec<Value>> {
        let pods = self.dynamic("", "v1", "Pod", Some(namespace)).list(&kube::api::ListParams::default()).await?;
        pods.items.iter().map(|pod| Ok(serde_json::to_value(pod)?)).collect()
    }

    /// How many pods were created although the webhook gave no valid answer.
    pub async fn failed_open(&self) -> anyhow::Result<u64> {
        let metrics = self.client.request_text(hyper::Request::get("/metrics").body(Vec::new())?).await?;
        let counts = metrics.lines().filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count"));
        counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }

    /// Every Event of a namespace, as reason and message.
    pub async fn events(&self, namespace: &str) -> anyhow::Result<Vec<(String, String)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = events.list(&kube::api::ListParams::default()).await?;
        let text = |event: Event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        Ok(events.items.into_iter().map(text).collect())
    }

    /// Applies an object server-side, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let (api, name) = self.api_of(object)?;
        api.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(object))
            .await
            .with_context(|| format!("failed to apply {} {name}", object["kind"]))?;
        Ok(())
    }

    /// The API of an object, and its name.
    pub fn api_of(&self, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        let version = text("/apiVersion").context("an object without an apiVersion")?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = text("/kind").context("an object without a kind")?;
        let name = text("/metadata/name").context("an object without a name")?;
        Ok((self.dynamic(group, version, kind, text("/metadata/namespace")), name.to_owned()))
    }

    /// A token of a ServiceAccount, as the kubelet projects it.
    pub async fn token(&self, namespace: &str, account: &str, expiration_seconds: i64) -> anyhow::Result<String> {
        self.request_token(namespace, account, json!({"expirationSeconds": expiration_seconds, "audiences": []})).await
    }

    /// A token of a ServiceAccount for another audience than the API server.
    pub async fn token_for(&self, namespace: &str, account: &str, audience: &str) -> anyhow::Result<String> {
        self.request_token(namespace, account, json!({"expirationSeconds": 3600, "audiences": [audience]})).await
    }

    async fn request_token(&self, namespace: &str, account: &str, spec: Value) -> anyhow::Result<String> {
        let request: TokenRequest = serde_json::from_value(json!({"spec": spec}))?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        Ok(answer.status.context("a token request without an answer")?.token)
    }

    /// A Secret, if it exists.
    pub async fn secret(&self, namespace: &str, name: &str) -> anyhow::Result<Option<Secret>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(name).await?)
    }

    /// A ConfigMap's data, if the map exists.
    pub async fn config_map(&self, namespace: &str, name: &str) -> anyhow::Result<Option<ConfigMap>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(name).await?)
    }

    /// How often the API server has called an admission webhook since its start.
    pub async fn webhook_calls(&self, webhook: &str) -> anyhow::Result<u64> {
        let text = self.client.request_text(hyper::Request::get("/metrics").body(Vec::new())?).await?;
        let name = format!("name=\"{webhook}\"");
        let lines = text.lines().filter(|line| line.starts_with("apiserver_admission_webhook_request_total{"));
        let counts = lines.filter(|line| line.contains(&name)).filter_map(|line| line.rsplit(' ').next());
        counts.map(|count| Ok(count.parse::<u64>()?)).sum()
    }

    /// How many calls to an admission webhook took longer than `seconds`, which must be a bucket of the histogram.
    pub async fn slow_webhook_calls(&self, webhook: &str, seconds: &str) -> anyhow::Result<u64> {
        const NAME: &str = "apiserver_admission_webhook_admission_duration_seconds";
        let text = self.client.request_text(hyper::Request::get("/metrics").body(Vec::new())?).await?;
        let (name, limit) = (format!("name=\"{webhook}\""), format!("le=\"{seconds}\""));
        let sum = |of: &str, limit: &str| -> anyhow::Result<u64> {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{NAME}_{of}{{")));
            let counts = lines.filter(|line| line.contains(&name) && line.contains(limit));
            counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
        };
        let all = sum("count", "")?;
        anyhow::ensure!(all > 0, "{webhook} was never called");
        Ok(all - sum("bucket", &limit)?)
    }

    fn dynamic(&self, group: &str, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

async fn is_ready(client: &kube::Client) -> bool {
    let request = hyper::Request::get("/readyz").body(Vec::new());
    let Ok(request) = request else { return false };
    client.request_text(request).await.is_ok_and(|answer| answer == "ok")
}

pub(crate) fn kubeconfig_text(server: &str, ca: &str, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "e2e", "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e",
    });
    // JSON is YAML.
    config.to_string()
}

fn start_etcd(servers: &Servers, dir: &Path) -> anyhow::Result<(Process, String)> {
    let (client, peer) = (format!("http://127.0.0.1:{}", free_port()?), format!("http://127.0.0.1:{}", free_port()?));
    let mut command = Command::new(&servers.etcd);
    command
        .args(["--unsafe-no-fsync", "--name=e2e", &format!("--data-dir={}", dir.join("etcd").display())])
        .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
        .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
        .arg(format!("--initial-cluster=e2e={peer}"));
    Ok((Process::start("etcd", &command, dir)?, client))
}
