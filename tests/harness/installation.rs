//! The webhook as a cluster runs it: the real program, with the arguments, volumes, permissions and webhook configuration of the
//! rendered manifests.
//!
//! One thing differs from a cluster: it listens on loopback, so the webhook configuration has a URL instead of a service.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::kubelet::Container;
use crate::manifests::{apply, object, pod_of, render};
use crate::process::{Process, eventually};
use crate::programs::program;
use crate::servers::Servers;
use crate::{free_port, http, pod_fixture};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::Authority;
use serde_json::{Value, json};
use tempfile::TempDir;

const LIFETIME: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_secs(30);
/// The namespace of the installation.
pub const NAMESPACE: &str = "redis-log-shipper";
const CERTIFICATE: &str = "redis-log-webhook-tls";
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A webhook that the API server calls.
#[derive(Debug)]
pub struct Installation {
    /// The webhook.
    pub process: Process,
    /// The address of its metrics and probes.
    pub admin: String,
    _dir: TempDir,
}

impl Installation {
    /// Installs the overlay `plain`.
    pub async fn start(cluster: &Cluster, loki_url: &str) -> anyhow::Result<Self> {
        let servers = Servers::find("installation")?.context("servers that were there are gone")?;
        Self::of(cluster, render(&servers.kustomize, "overlays/plain")?, loki_url).await
    }

    /// Installs rendered `objects`, with `loki_url` as the push URL.
    pub async fn of(cluster: &Cluster, mut objects: Vec<Value>, loki_url: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (port, admin) = (free_port()?, format!("127.0.0.1:{}", free_port()?));
        set_loki_url(&mut objects, loki_url)?;
        let (pod, own) = (pod_of(object(&objects, "Deployment", "redis-log-webhook")?)?, issues_its_own(&objects)?);
        // Stands for cert-manager or OpenShift's service CA.
        let issued = if own { None } else { Some(Authority::new("test service CA", LIFETIME)?) };
        point_to(&mut objects, port, issued.as_ref().map(Authority::cert))?;
        apply(cluster, &objects).await?;
        if let Some(ca) = issued {
            cluster.apply(&certificate(&ca)?).await?;
        }
        // The controller manager creates it in every namespace, and the kubelet needs it for every pod with a token.
        cluster.create_config_map(NAMESPACE, "kube-root-ca.crt", &json!({"ca.crt": cluster.ca})).await?;
        let pod = cluster.create_pod(NAMESPACE, &pod, false).await?;

        let container = Container::new(&pod, "webhook", dir.path())?;
        container.make_volumes(cluster).await?;
        let kubeconfig = dir.path().join("kubeconfig");
        let credentials = container.path(SERVICE_ACCOUNT);
        std::fs::write(&kubeconfig, cluster.kubeconfig_of(&credentials.join("token"), &credentials.join("ca.crt")))?;
        let mut command = container.command(&program("redis-log-webhook")?)?;
        command
            .env("KUBECONFIG", kubeconfig)
            .args([format!("--listen=127.0.0.1:{port}"), format!("--admin-listen={admin}")]);
        if own {
            command.arg("--dns-name=localhost");
        }
        let mut process = Process::start("redis-log-webhook", &command, dir.path())?;
        let (client, ready) = (http::client(None)?, format!("http://{admin}/ready"));
        process
            .wait_until(PATIENCE, || async {
                http::get(&client, &ready).await.is_ok_and(|(status, _)| status.is_success())
            })
            .await?;
        await_injection(cluster).await?;
        Ok(Self { process, admin, _dir: dir })
    }
}

/// Sets the one value that a user edits.
fn set_loki_url(objects: &mut [Value], loki_url: &str) -> anyhow::Result<()> {
    let map = objects.iter_mut().find(|object| object["kind"] == "ConfigMap").context("no ConfigMap")?;
    let text = map.pointer_mut("/data/config.yaml").context("no config.yaml")?;
    let mut config: Value = serde_saphyr::from_str(text.as_str().unwrap_or_default())?;
    let keys = config.as_object_mut().context("a configuration that is no map")?;
    keys.insert("lokiUrl".to_owned(), json!(loki_url));
    *text = json!(config.to_string());
    Ok(())
}

fn issues_its_own(objects: &[Value]) -> anyhow::Result<bool> {
    let deployment = object(objects, "Deployment", "redis-log-webhook")?;
    let args = deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
    Ok(args.context("a container without args")?.iter().any(|arg| arg == "--self-signed"))
}

/// Replaces the service in the webhook configuration by the loopback URL.
fn point_to(objects: &mut [Value], port: u16, ca: Option<&str>) -> anyhow::Result<()> {
    let mut configurations = objects.iter_mut().filter(|object| object["kind"] == "MutatingWebhookConfiguration");
    let configuration = configurations.next().context("no webhook configuration")?;
    let mut client_config = json!({"url": format!("https://localhost:{port}/mutate")});
    if let (Some(ca), Some(client_config)) = (ca, client_config.as_object_mut()) {
        client_config.insert("caBundle".to_owned(), json!(STANDARD.encode(ca)));
    }
    *configuration.pointer_mut("/webhooks/0/clientConfig").context("no clientConfig")? = client_config;
    Ok(())
}

fn certificate(ca: &Authority) -> anyhow::Result<Value> {
    let pair = ca.serving(&["localhost"], LIFETIME)?;
    let data = json!({certs::CERT_FILE: STANDARD.encode(pair.cert), certs::KEY_FILE: STANDARD.encode(pair.key)});
    let metadata = json!({"name": CERTIFICATE, "namespace": NAMESPACE});
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}))
}

/// Waits until the API server calls the webhook.
async fn await_injection(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.create_namespace("canary", &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await?;
    let pod = pod_fixture("a-vanilla")?;
    eventually("the API server calls the webhook", PATIENCE, || async {
        let pod = cluster.create_pod("canary", &pod, true).await?;
        let annotated = pod.pointer("/metadata/annotations/redis-log-shipper.io~1status").is_some();
        Ok(annotated.then_some(()))
    })
    .await
}
