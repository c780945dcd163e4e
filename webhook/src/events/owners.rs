//! Whether an Event may be created. `/mutate` has no authentication by default, so anybody who reaches it chooses the
//! content of a review.
//!
//! The namespace must have opted in, and the owner in the review must exist there with the same uid. Only metadata is read.
//! The task that creates Events checks this, so no answer waits for it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::admission::names::{is_label, is_subdomain};
use crate::admission::pod::INJECT;
use runtime::chain;

/// The value of the label with which a namespace opts in.
const ENABLED: &str = "enabled";
/// How long a positive answer of the API server stays valid. The pods of one owner come within seconds.
const FRESH_FOR: Duration = Duration::from_mins(1);
/// The limit for remembered answers.
const KEPT: usize = 1024;
/// The longest uid. Kubernetes uses UUIDs of 36 characters.
const UID_CHARS: usize = 64;

/// Why no Event is created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("invalid owner: expected a namespace, apiVersion, kind, name and uid as Kubernetes writes them")]
    Invalid,
    #[error("invalid kind of owner: expected a StatefulSet, a ReplicaSet or a Job")]
    Kind,
    #[error("the namespace does not exist, or did not opt in")]
    Namespace,
    #[error("no owner has this name and uid")]
    Owner,
    #[error("failed to check the owner of a pod")]
    Api(#[from] kube::Error),
}

/// The kinds of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    StatefulSet,
    ReplicaSet,
    Job,
}

/// A positive answer of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    OptedIn(String),
    Owner { namespace: String, kind: Kind, name: String, uid: String },
}

/// Asks the API server, and remembers positive answers for a while.
pub(crate) struct Owners {
    client: kube::Client,
    known: HashMap<Known, Instant>,
    kind_logged: bool,
    forbidden_logged: bool,
}

impl Owners {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, known: HashMap::new(), kind_logged: false, forbidden_logged: false }
    }

    /// Whether `namespace` opted in and contains `owner`, which is an ownerReference.
    pub(crate) async fn check(&mut self, namespace: &str, owner: &Value) -> Result<(), Refusal> {
        let known = known(namespace, owner)?;
        let opted_in = Known::OptedIn(namespace.to_owned());
        if !self.knows(&opted_in) {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            let found = namespaces.get_metadata_opt(namespace).await?;
            let labels = found.and_then(|found| found.metadata.labels).unwrap_or_default();
            if labels.get(INJECT).is_none_or(|value| value != ENABLED) {
                return Err(Refusal::Namespace);
            }
            self.keep(opted_in);
        }
        if self.knows(&known) {
            return Ok(());
        }
        let Known::Owner { namespace, kind, name, uid } = &known else { return Err(Refusal::Invalid) };
        let found = match kind {
            Kind::StatefulSet => self.uid::<StatefulSet>(namespace, name).await?,
            Kind::ReplicaSet => self.uid::<ReplicaSet>(namespace, name).await?,
            Kind::Job => self.uid::<Job>(namespace, name).await?,
        };
        if found.as_ref() != Some(uid) {
            return Err(Refusal::Owner);
        }
        self.keep(known);
        Ok(())
    }

    /// Logs why there is no Event. A sender of forged reviews could repeat some reasons at will, so these are logged once
    /// or at debug level.
    pub(crate) fn log(&mut self, namespace: &str, refusal: &Refusal) {
        let error = chain(refusal);
        match refusal {
            Refusal::Api(kube::Error::Api(status)) if status.code == 403 => {
                if !std::mem::replace(&mut self.forbidden_logged, true) {
                    tracing::warn!(
                        error,
                        "no Events: the webhook lacks the permission to look up namespaces and owners; apply the \
                         ClusterRole redis-log-webhook-events of the manifests again"
                    );
                }
            }
            Refusal::Kind if !std::mem::replace(&mut self.kind_logged, true) => {
                tracing::warn!(
                    namespace,
                    error,
                    "no Event for the owner of a pod; run redis-log-webhook explain to see what happened to the pod"
                );
            }
            Refusal::Api(_) => tracing::warn!(namespace, error, "no Event for the owner of a pod"),
            _ => tracing::debug!(namespace, error, "no Event for the owner of a pod"),
        }
    }

    async fn uid<K>(&self, namespace: &str, name: &str) -> kube::Result<Option<String>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let owners: Api<K> = Api::namespaced(self.client.clone(), namespace);
        Ok(owners.get_metadata_opt(name).await?.and_then(|found| found.metadata.uid))
    }

    fn knows(&self, known: &Known) -> bool {
        self.known.get(known).is_some_and(|until| Instant::now() < *until)
    }

    fn keep(&mut self, known: Known) {
        let now = Instant::now();
        if self.known.len() >= KEPT {
            self.known.retain(|_, until| now < *until);
        }
        // At five Events a second, a minute never fills it. If it is full nevertheless, the API server is asked again.
        if self.known.len() < KEPT {
            self.known.insert(known, now + FRESH_FOR);
        }
    }
}

/// What `owner` refers to. It must be well-formed, because its name becomes part of a request's path.
fn known(namespace: &str, owner: &Value) -> Result<Known, Refusal> {
    let text = |at: &str| owner.get(at).and_then(Value::as_str).ok_or(Refusal::Invalid);
    let (version, kind, name, uid) = (text("apiVersion")?, text("kind")?, text("name")?, text("uid")?);
    let is_uid = (1..=UID_CHARS).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_label(namespace) || !is_subdomain(name) || !is_uid {
        return Err(Refusal::Invalid);
    }
    let kind = match (version, kind) {
        ("apps/v1", "StatefulSet") => Kind::StatefulSet,
        ("apps/v1", "ReplicaSet") => Kind::ReplicaSet,
        ("batch/v1", "Job") => Kind::Job,
        _ => return Err(Refusal::Kind),
    };
    Ok(Known::Owner { namespace: namespace.to_owned(), kind, name: name.to_owned(), uid: uid.to_owned() })
}
