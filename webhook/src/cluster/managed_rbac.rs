//! Keeps one ClusterRoleBinding whose subjects are the namespaces that opted in, so that they may push.
//!
//! A watch only shows that something may have changed. Each update reads the binding, then lists the namespaces, and
//! overwrites only the version it has read. So all replicas may do this at once: none overwrites a newer state with an
//! older one, and manual changes are undone.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Subject};
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::rbac;
use runtime::chain;

/// The binding.
const BINDING: &str = "redis-log-shipper-managed-writers";
/// The label with which a namespace opts in.
const OPTED_IN: &str = "redis-log-shipper.io/inject=enabled";
const GROUP: &str = "rbac.authorization.k8s.io";
/// Changes come in bursts, so one update covers all changes within this time.
const GATHER: Duration = Duration::from_millis(200);
/// The interval of updates without a change, in case a watch missed one; and the delay after a failed update.
const INTERVAL: Duration = Duration::from_mins(1);
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The timeout of one update.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The limit for attempts. Every attempt except the first follows another writer's success.
const ATTEMPTS: usize = 10;

/// Why the binding is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The API server refused to show or change the binding.
    #[error("failed to {what} the ClusterRoleBinding {BINDING}")]
    Binding {
        /// The attempted action.
        what: &'static str,
        /// The API server's error.
        source: kube::Error,
    },
    /// The API server refused to list the namespaces.
    #[error("failed to list the namespaces that opted in")]
    Namespaces(#[source] kube::Error),
    /// The binding grants another role, and Kubernetes does not let anybody change the role of a binding.
    #[error(
        "invalid ClusterRoleBinding {BINDING}: it binds {role}, expected {}; delete it, and the webhook creates it \
         again",
        rbac::WRITER
    )]
    OtherRole {
        /// The role that it binds.
        role: String,
    },
    /// Other writers changed the binding before each attempt.
    #[error("failed to write the ClusterRoleBinding {BINDING}: others changed it {ATTEMPTS} times in between")]
    Contended,
    /// The API server does not answer.
    #[error("no answer from the API server within {TIMEOUT:?}")]
    Slow,
}

/// The metrics of this module.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    namespaces: Gauge,
    failures: Counter,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let r = registry.sub_registry_with_prefix("redis_log_webhook_managed_rbac");
        r.register("namespaces", "Namespaces that opted in and may push", metrics.namespaces.clone());
        r.register("failures", "Failed updates of the ClusterRoleBinding", metrics.failures.clone());
        metrics
    }
}

/// Keeps the binding up to date until `shutdown`.
pub async fn keep(client: kube::Client, metrics: Metrics, shutdown: CancellationToken) {
    let mut changes = Box::pin(changes(&client));
    loop {
        let updated = tokio::time::timeout(TIMEOUT, update(&client));
        let updated = tokio::select! {
            () = shutdown.cancelled() => return,
            updated = updated => updated.unwrap_or(Err(ManageError::Slow)),
        };
        let next = match updated {
            Ok(namespaces) => {
                metrics.namespaces.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
                INTERVAL
            }
            Err(error) => {
                metrics.failures.inc();
                tracing::error!(error = chain(&error), "failed to let the namespaces push that opted in");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = gathered(&mut changes) => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// Waits for a change, and for further changes of the same burst.
async fn gathered(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    if changes.next().await.is_none() {
        // Watches never end. If one did, the regular updates would remain.
        return std::future::pending().await;
    }
    let more = async { while changes.next().await.is_some() {} };
    // The result does not matter: the next update covers all changes.
    let _elapsed = tokio::time::timeout(GATHER, more).await;
}

/// A stream of changes: a namespace opts in or out, or somebody changes the binding.
fn changes(client: &kube::Client) -> impl Stream<Item = ()> + Send + use<> {
    // Only the names matter.
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let bindings: Api<PartialObjectMeta<ClusterRoleBinding>> = Api::all(client.clone());
    let namespaces = watcher(namespaces, watcher::Config::default().labels(OPTED_IN)).default_backoff();
    let binding = format!("metadata.name={BINDING}");
    let bindings = watcher(bindings, watcher::Config::default().fields(&binding)).default_backoff();
    let changed = |what: &'static str, error: Option<watcher::Error>| {
        if let Some(error) = error {
            tracing::warn!(what, error = chain(&error), "a watch failed; starting it again");
        }
    };
    futures::stream::select(
        namespaces.map(move |event| changed("namespaces", event.err())),
        bindings.map(move |event| changed("binding", event.err())),
    )
}

/// Updates the binding if necessary. Returns how many namespaces may push.
async fn update(client: &kube::Client) -> Result<usize, ManageError> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for _ in 0..ATTEMPTS {
        let binding = bindings.get_opt(BINDING).await.map_err(failed("read"))?;
        let wanted = subjects(client).await?;
        let written = match binding {
            None => bindings.create(&PostParams::default(), &new_binding(&wanted)?).await,
            Some(binding) if binding.role_ref.name != rbac::WRITER || binding.role_ref.kind != "ClusterRole" => {
                return Err(ManageError::OtherRole { role: binding.role_ref.name });
            }
            Some(binding) if binding.subjects.as_ref().unwrap_or(&Vec::new()) == &wanted => return Ok(wanted.len()),
            Some(binding) => {
                let version = binding.metadata.resource_version;
                let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "subjects": wanted}));
                bindings.patch(BINDING, &PatchParams::default(), &patch).await
            }
        };
        match written {
            Ok(_) => tracing::info!(namespaces = wanted.len(), "updated the namespaces that may push"),
            // Another replica wrote first. The next attempt reads its result.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            Err(source) => return Err(failed("write")(source)),
        }
    }
    Err(ManageError::Contended)
}

/// The groups of the namespaces that opted in, sorted. A namespace that is being deleted stays until it is gone: its pods
/// still push.
async fn subjects(client: &kube::Client) -> Result<Vec<Subject>, ManageError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = namespaces.list_metadata(&ListParams::default().labels(OPTED_IN)).await;
    let listed = listed.map_err(ManageError::Namespaces)?;
    let mut names: Vec<_> = listed.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect();
    names.sort();
    let subject = |name: String| Subject {
        api_group: Some(GROUP.to_owned()),
        kind: "Group".to_owned(),
        name: rbac::accounts_of(&name),
        namespace: None,
    };
    Ok(names.into_iter().map(subject).collect())
}

fn new_binding(subjects: &[Subject]) -> Result<ClusterRoleBinding, ManageError> {
    let binding = json!({
        "metadata": {
            "name": BINDING,
            "labels": {
                "app.kubernetes.io/part-of": "redis-log-shipper",
                "app.kubernetes.io/managed-by": "redis-log-webhook",
            },
        },
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": rbac::WRITER},
        "subjects": subjects,
    });
    serde_json::from_value(binding).map_err(|source| failed("write")(kube::Error::SerdeError(source)))
}

fn failed(what: &'static str) -> impl Fn(kube::Error) -> ManageError {
    move |source| ManageError::Binding { what, source }
}
