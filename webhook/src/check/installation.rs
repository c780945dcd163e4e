//! The installation: the registration, the webhook's pods, its certificate and its configuration.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use findings::{Code, Finding, Outcome, Report};
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::api::ListParams;
use serde_json::Value;

use super::files::{CONFIG_KEY, CONFIG_MAP};
use super::reader::{CONCURRENCY, Reader, Unread, What};
use super::scope::Scope;
use crate::admission::pod::{name, text};
use crate::audit::{certificate, configuration, deployment, registration};
use crate::config::Config;

/// The Deployment, its Service, and the label of its pods.
const DEPLOYMENT: &str = "redis-log-webhook";
const POD_LABEL: &str = "app.kubernetes.io/name=redis-log-webhook";
/// The Secret with the serving certificate, where the Deployment names no other.
const SECRET: &str = "redis-log-webhook-tls";
/// The port of the webhook's metrics.
const ADMIN_PORT: u16 = 9465;

/// What the checks of pods need to know about the installation.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The configuration of the webhook, or the defaults.
    pub(crate) config: Config,
    /// Whether the configuration is the one of the webhook.
    pub(crate) knows_config: bool,
    /// Why existing sidecars cannot be compared with new ones.
    pub(crate) not_comparable: Option<String>,
    /// When the webhook was registered.
    pub(crate) registered: Option<Timestamp>,
    /// Whether the API server knows the webhook, as far as that could be read.
    pub(crate) is_registered: bool,
    /// Whether the webhook fits sidecars into LimitRanges.
    pub(crate) fits_limits: bool,
}

/// Checks the installation.
pub(crate) async fn check(reader: &Reader, scope: &Scope, report: &mut Report) -> Installed {
    report.group("installation");
    let config = config(reader, scope, report).await;
    let knows_config = config.is_some();
    let (config, mut not_comparable) = match config {
        Some(config) => (config, None),
        None => (Config::default(), Some("the configuration of the webhook is not known".to_owned())),
    };
    let registration = registration(reader, &config, report).await;
    let deployment = deployment(reader, scope, report).await;
    let mut fits_limits = false;
    match deployment.as_ref().map(deployment::version) {
        None => {
            not_comparable.get_or_insert_with(|| "the version of the webhook is not known".to_owned());
        }
        Some(version) => {
            fits_limits = deployment.as_ref().is_some_and(|it| deployment::has_flag(it, "--step-aside"));
            if version.as_deref() != Some(env!("CARGO_PKG_VERSION")) {
                not_comparable.get_or_insert_with(|| {
                    let other = version.as_deref().unwrap_or("an unknown version");
                    format!("the webhook is of {other}, and this program of {}", env!("CARGO_PKG_VERSION"))
                });
            }
        }
    }
    let webhook = registration.as_ref().and_then(registration::webhook);
    if let Some(webhook) = webhook {
        endpoints(reader, scope, webhook, report).await;
        let secret = deployment.as_ref().and_then(deployment::certificate_secret).unwrap_or(SECRET);
        trusted(reader, scope, webhook, secret, report).await;
    }
    served(reader, scope, report).await;
    Installed {
        config,
        knows_config,
        not_comparable,
        registered: registration.as_ref().and_then(|it| it.metadata.creation_timestamp.as_ref()).map(|at| at.0),
        is_registered: webhook.is_some(),
        fits_limits,
    }
}

/// The configuration of the webhook; `None` if it cannot be read or is invalid.
async fn config(reader: &Reader, scope: &Scope, report: &mut Report) -> Option<Config> {
    if let Some(config) = &scope.config {
        return Some(config.clone());
    }
    let check = "the configuration is valid";
    let path = format!("/api/v1/namespaces/{}/configmaps/{CONFIG_MAP}", scope.installation);
    let map = match reader.get(&path).await {
        Ok(map) => map,
        Err(unread) => {
            let what = What::get(format!("configmap {CONFIG_MAP} in {}", scope.installation));
            report.add(format!("{check} (--config names a file in its place)"), unread.outcome(&what));
            return None;
        }
    };
    let Some(text) = map.get("data").and_then(|data| data.get(CONFIG_KEY)).and_then(Value::as_str) else {
        report.add(check, Outcome::Skipped(format!("the ConfigMap {CONFIG_MAP} has no key {CONFIG_KEY}")));
        return None;
    };
    match configuration::read(&format!("ConfigMap {}/{CONFIG_MAP}", scope.installation), text) {
        Ok(config) => {
            report.add(check, Outcome::Passed(String::new()));
            Some(config)
        }
        Err(faults) => {
            for fault in faults {
                report.add(check, Outcome::Found(fault));
            }
            None
        }
    }
}

async fn registration(reader: &Reader, config: &Config, report: &mut Report) -> Option<MutatingWebhookConfiguration> {
    let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{}", registration::NAME);
    let check = "the webhook is registered";
    let found = match reader.get(&path).await {
        Ok(found) => serde_json::from_value::<MutatingWebhookConfiguration>(found).ok(),
        Err(Unread::Absent) => None,
        Err(unread) => {
            let what = What::get(format!("mutatingwebhookconfiguration {}", registration::NAME));
            report.add(check, unread.outcome(&what));
            return None;
        }
    };
    let Some((found, webhook)) = found.as_ref().and_then(|it| Some((it, registration::webhook(it)?))) else {
        let problem = match found {
            None => format!("the cluster has no MutatingWebhookConfiguration {}", registration::NAME),
            Some(_) => format!(
                "the MutatingWebhookConfiguration {} has no webhook {}",
                registration::NAME,
                registration::WEBHOOK
            ),
        };
        report.add(check, Outcome::Found(Finding::with_names(Code::WebhookMissing, problem, &[])));
        return None;
    };
    report.add(check, Outcome::Passed(String::new()));
    report.add("its selectors match the right pods", registration::selectors(webhook, config));
    report.add("it cannot keep pods from being created", registration::safety(webhook));
    Some(found.clone())
}

async fn deployment(reader: &Reader, scope: &Scope, report: &mut Report) -> Option<Value> {
    let namespace = &scope.installation;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}");
    let check = "the webhook is Ready";
    match reader.get(&path).await {
        Ok(found) => {
            report.add(check, deployment::readiness(&found, namespace));
            Some(found)
        }
        Err(unread) => {
            let outcome = match unread {
                Unread::Absent => Outcome::Found(deployment::missing(namespace, DEPLOYMENT)),
                unread => unread.outcome(&What::get(format!("deployment {DEPLOYMENT} in {namespace}"))),
            };
            report.add(check, outcome);
            None
        }
    }
}

/// Whether the Service that the API server calls has an address.
async fn endpoints(reader: &Reader, scope: &Scope, webhook: &MutatingWebhook, report: &mut Report) {
    let check = "its Service has endpoints";
    let Some(service) = &webhook.client_config.service else {
        report.add(check, Outcome::Skipped("the API server calls the webhook by a URL".to_owned()));
        return;
    };
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", service.namespace);
    let selected = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let outcome = match reader.list(&path, selected).await {
        Ok(slices) => deployment::endpoints(&slices, &service.namespace, &service.name),
        Err(unread) => unread.outcome(&What::list(format!("endpointslices in {}", scope.installation))),
    };
    report.add(check, outcome);
}

/// Whether the API server trusts the certificate that the webhook serves.
async fn trusted(reader: &Reader, scope: &Scope, webhook: &MutatingWebhook, secret: &str, report: &mut Report) {
    let check = "the API server trusts its certificate";
    let namespace = &scope.installation;
    let secret_path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    let outcome = match reader.get(&secret_path).await {
        Ok(found) => {
            let chain = text(&found, "/data/tls.crt").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            let bundle = webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
            let name = certificate::server_name(&webhook.client_config);
            let place = format!("the Secret {namespace}/{secret}");
            let (bundle, chain) = (String::from_utf8_lossy(bundle), String::from_utf8_lossy(&chain));
            certificate::trust(&bundle, &chain, (&name, &place), SystemTime::now())
        }
        Err(unread) => unread.outcome(&What::get(format!("secret {secret} in {namespace}"))),
    };
    report.add(check, outcome);
}

/// What each replica says of itself: the certificate that it serves, and the configuration that it uses.
async fn served(reader: &Reader, scope: &Scope, report: &mut Report) {
    let namespace = &scope.installation;
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let pods = match reader.list(&path, ListParams::default().labels(POD_LABEL)).await {
        Ok(pods) => pods,
        Err(unread) => {
            report.add("its replicas", unread.outcome(&What::list(format!("pods in {namespace}"))));
            return;
        }
    };
    report.add("its replicas are of one version", deployment::versions(&pods));
    let running = pods.iter().filter(|pod| text(pod, "/status/phase") == Some("Running"));
    let names: Vec<_> = running.filter_map(|pod| pod.get("metadata").and_then(name)).collect();
    let read = stream::iter(names).map(|pod| async move {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN_PORT}/proxy/metrics");
        (pod, reader.text(&path).await)
    });
    let read: Vec<_> = read.buffered(CONCURRENCY).collect().await;
    for (pod, metrics) in read {
        let check = format!("replica {pod} uses the latest certificate and configuration");
        let outcome = match metrics {
            Ok(metrics) => deployment::replica(&metrics, namespace, pod, Timestamp::now()),
            Err(unread) => unread.outcome(&What::get(format!("pods/proxy in {namespace}"))),
        };
        report.add(check, outcome);
    }
}
