//! Keeps the namespaces that may push equal to the namespaces that opted in, as the subjects of one ClusterRoleBinding.
//!
//! Watches only say that something may have changed. What to write is decided on what the API server lists at that moment,
//! after the binding was read, and written only over that version of it. So replicas may all do this: none can put an older
//! state over a newer one, and edits by hand are undone.

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

/// The binding that is kept.
const BINDING: &str = "redis-log-shipper-managed-writers";
/// The label by which a namespace opts in.
const OPTED_IN: &str = "redis-log-shipper.io/inject=enabled";
const GROUP: &str = "rbac.authorization.k8s.io";
/// Changes come in swarms: a few are taken together.
const GATHER: Duration = Duration::from_millis(200);
/// A look that no change asked for, should a watch have missed one; and the next attempt after a failure.
const AGAIN: Duration = Duration::from_mins(1);
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Each attempt but the first follows somebody else's success.
const ATTEMPTS: usize = 10;

/// Why the binding is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The API server refused to show or to change the binding.
    #[error("failed to {what} the ClusterRoleBinding {BINDING}")]
    Binding {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: kube::Error,
    },
    /// The API server refused to list the namespaces.
    #[error("failed to list the namespaces that opted in")]
    Namespaces(#[source] kube::Error),
    /// The binding grants something else, which no update can change.
    #[error(
        "invalid ClusterRoleBinding {BINDING}: it binds {role}, expected {}; delete it, and the webhook creates it again",
        rbac::WRITER
    )]
    OtherRole {
        /// What it binds.
        role: String,
    },
    /// Others kept writing.
    #[error("failed to write the ClusterRoleBinding {BINDING}: others changed it {ATTEMPTS} times in between")]
    Contended,
    /// The API server does not answer.
    #[error("no answer from the API server within {PATIENCE:?}")]
    Slow,
}

/// What is counted about it.
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
        r.register("failures", "Times the binding could not be kept", metrics.failures.clone());
        metrics
    }
}

/// Keeps the binding until `shutdown`.
pub async fn keep(client: kube::Client, metrics: Metrics, shutdown: CancellationToken) {
    let mut changes = Box::pin(changes(&client));
    loop {
        let looked = tokio::time::timeout(PATIENCE, look(&client));
        let looked = tokio::select! {
            () = shutdown.cancelled() => return,
            looked = looked => looked.unwrap_or(Err(ManageError::Slow)),
        };
        let next = match looked {
            Ok(namespaces) => {
                metrics.namespaces.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
                AGAIN
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

/// Waits for a change, and for those that come with it.
async fn gathered(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    if changes.next().await.is_none() {
        // Watches never end; should they, the regular look remains.
        return std::future::pending().await;
    }
    let more = async { while changes.next().await.is_some() {} };
    // Either way they are all taken: what remains shows at the next look.
    let _elapsed = tokio::time::timeout(GATHER, more).await;
}

/// That something changed: a namespace that opted in, or no longer does, or the binding.
fn changes(client: &kube::Client) -> impl Stream<Item = ()> + Send + use<> {
    // Their names are all we want to know.
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let bindings: Api<PartialObjectMeta<ClusterRoleBinding>> = Api::all(client.clone());
    let namespaces = watcher(namespaces, watcher::Config::default().labels(OPTED_IN)).default_backoff();
    let binding = format!("metadata.name={BINDING}");
    let bindings = watcher(bindings, watcher::Config::default().fields(&binding)).default_backoff();
    let told = |what: &'static str, error: Option<watcher::Error>| {
        if let Some(error) = error {
            tracing::warn!(what, error = chain(&error), "a watch failed; starting it again");
        }
    };
    futures::stream::select(
        namespaces.map(move |event| told("namespaces", event.err())),
        bindings.map(move |event| told("binding", event.err())),
    )
}

/// Looks once, and writes what is not as it should be. Returns how many namespaces may push.
async fn look(client: &kube::Client) -> Result<usize, ManageError> {
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
            // Somebody was faster: what is there now may be right already.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            Err(source) => return Err(failed("write")(source)),
        }
    }
    Err(ManageError::Contended)
}

/// The groups of the namespaces that opted in, in order. A namespace that is being deleted still has pods with lines to
/// push, and stays until it is gone.
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
