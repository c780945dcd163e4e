//! The requests of a rollout. Each has a timeout, and each error says which request failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, EvictParams, ListParams, PostParams, Preconditions};
use serde_json::Value;

use super::health::Set;
use super::member::Member;
use super::trial::{self, Trial};
use crate::config::Config;

/// The names of the manifests.
const REGISTRATION: &str = "redis-log-shipper";
const WEBHOOK: &str = "redis-log-webhook";
/// The reasons of Events about pods that get no sidecar.
const LEFT_ALONE: [&str; 3] = ["LogShipperNotInjected", "LogShipperSteppedAside", "LogShipperFuseBlown"];
/// A pod is created within this time after its review.
const REVIEW: Duration = Duration::from_secs(2);
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}")]
pub(crate) struct Failed {
    what: String,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("{}", .0.message)]
    Refused(Box<kube::core::Status>),
    #[error(transparent)]
    Other(kube::Error),
}

impl Failed {
    /// Whether the account lacks the permission.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status() == 403
    }

    fn is_not_found(&self) -> bool {
        self.status() == 404
    }

    fn status(&self) -> u16 {
        if let Cause::Refused(status) = &self.cause { status.code } else { 0 }
    }
}

/// The answer to an eviction.
#[derive(Debug)]
pub(super) enum Eviction {
    /// The pod is being deleted.
    Accepted,
    /// The pod is gone, or another one has its name.
    Gone,
    /// A budget does not allow it now, in the API server's words.
    Refused(String),
}

/// The namespace of the rollout.
pub(crate) struct Cluster {
    client: kube::Client,
    /// Its name.
    pub(crate) namespace: String,
    /// The configuration of the webhook.
    pub(crate) config: Config,
}

impl Cluster {
    /// The configuration of the installation is `config`, or is read from its ConfigMap. The second value says why it was not
    /// read; the defaults apply then.
    pub(crate) async fn new(client: kube::Client, namespace: String, config: Option<Config>) -> (Self, Option<String>) {
        let (config, note) = match config {
            Some(config) => (config, None),
            None => installed(&client).await.map_or_else(|why| (Config::default(), Some(why)), |config| (config, None)),
        };
        (Self { client, namespace, config }, note)
    }

    /// The labels of the namespace.
    pub(super) async fn labels(&self) -> Result<BTreeMap<String, String>, Failed> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = request(format!("read namespace {}", self.namespace), api.get(&self.namespace)).await?;
        Ok(namespace.metadata.labels.unwrap_or_default())
    }

    /// Whether the API server knows the webhook. Where the account may not read that, a trial shows it.
    pub(super) async fn is_registered(&self) -> Result<bool, Failed> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        match request("read the MutatingWebhookConfiguration", api.get_metadata(REGISTRATION)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) if error.is_forbidden() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The Redis Enterprise pods.
    pub(super) async fn pods(&self) -> Result<Vec<Value>, Failed> {
        let params = ListParams::default().labels(&crate::cluster::pods::selector(&self.config));
        let found = request(format!("list the pods of {}", self.namespace), self.dynamic().list(&params)).await?;
        // An object of the API server can always be written as JSON.
        Ok(found.items.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect())
    }

    /// The StatefulSets of these pods.
    pub(super) async fn sets(&self, members: &[Member]) -> Result<Vec<Set>, Failed> {
        let names: BTreeSet<_> = members.iter().filter_map(Member::stateful_set).collect();
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut sets = Vec::new();
        for name in names {
            let set = request(format!("read StatefulSet {name}"), api.get(name)).await?;
            let replicas = set.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            sets.push(Set { name: name.to_owned(), replicas: usize::try_from(replicas).unwrap_or_default() });
        }
        Ok(sets)
    }

    /// Creates a copy of a pod as a dry run.
    pub(super) async fn trial(&self, pod: &Value) -> Result<Trial, Failed> {
        let copy = trial::copy(pod).and_then(|copy| serde_json::from_value::<DynamicObject>(copy).ok());
        let Some(copy) = copy else {
            return Ok(Trial::Refused("the pod cannot be copied without its sidecar".to_owned()));
        };
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let api = self.dynamic();
        match request("create a pod as a dry run", api.create(&params, &copy)).await {
            Ok(created) => Ok(Trial::of(&serde_json::to_value(created).unwrap_or_default())),
            Err(Failed { cause: Cause::Refused(status), .. }) if (400..500).contains(&status.code) => {
                Ok(Trial::Refused(status.message))
            }
            Err(error) => Err(error),
        }
    }

    /// How many replicas of the webhook are ready to answer.
    pub(super) async fn ready_replicas(&self) -> Result<usize, Failed> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.config.namespace);
        let selected = ListParams::default().labels(&format!("kubernetes.io/service-name={WEBHOOK}"));
        let slices = request("list the EndpointSlices of the webhook", api.list(&selected)).await?;
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        Ok(endpoints.filter(|it| it.conditions.as_ref().is_some_and(|it| it.ready != Some(false))).count())
    }

    /// Evicts exactly this pod.
    pub(super) async fn evict(&self, member: &Member) -> Result<Eviction, Failed> {
        let preconditions = Preconditions { uid: Some(member.uid.clone()), ..Preconditions::default() };
        let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        match request(format!("evict pod {}", member.name), api.evict(&member.name, &params)).await {
            Ok(_) => Ok(Eviction::Accepted),
            Err(error) if matches!(error.status(), 404 | 409) => Ok(Eviction::Gone),
            Err(Failed { cause: Cause::Refused(status), .. }) if status.code == 429 => {
                let causes = status.details.into_iter().flat_map(|details| details.causes);
                let said: Vec<_> = causes.map(|cause| cause.message).filter(|said| !said.is_empty()).collect();
                Ok(Eviction::Refused(if said.is_empty() { status.message } else { said.join("; ") }))
            }
            Err(error) => Err(error),
        }
    }

    /// Why the webhook added no sidecar to this pod, by the last Event about it.
    pub(super) async fn left_alone(&self, pod: &Member) -> Option<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = request("list the Events", api.list(&ListParams::default())).await.ok()?;
        // The review comes just before the creation.
        let since = pod.created?.checked_sub(REVIEW).ok()?;
        let is_about = |event: &&Event| {
            let created = event.metadata.creation_timestamp.as_ref().map(|created| created.0);
            event.reason.as_deref().is_some_and(|reason| LEFT_ALONE.contains(&reason))
                && created.is_some_and(|created| created >= since)
                && event.message.as_deref().is_some_and(|message| names(message, &pod.name))
        };
        let last = found.items.iter().filter(is_about).max_by_key(|event| event.metadata.creation_timestamp.as_ref());
        last.and_then(|event| event.message.clone())
    }

    fn dynamic(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<Pod>(&()))
    }
}

/// Whether a message names a pod, and not only one whose name starts alike.
fn names(message: &str, pod: &str) -> bool {
    message.split(|char: char| !char.is_ascii_alphanumeric() && !"-.".contains(char)).any(|word| word == pod)
}

/// The configuration in the ConfigMap of the installation.
async fn installed(client: &kube::Client) -> Result<Config, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &Config::default().namespace);
    let map = request(format!("read the ConfigMap {WEBHOOK}"), api.get(WEBHOOK));
    let map = map.await.map_err(|error| runtime::chain(&error))?;
    let text = map.data.and_then(|mut data| data.remove("config.yaml")).unwrap_or_default();
    Config::parse(std::path::Path::new(WEBHOOK), &text).map_err(|error| runtime::chain(&error))
}

async fn request<T>(
    what: impl Into<String>,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failed> {
    let cause = match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Cause::Refused(status),
        Ok(Err(error)) => Cause::Other(error),
        Err(_elapsed) => Cause::Timeout,
    };
    Err(Failed { what: what.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_another_pod_is_not_about_this_one() {
        assert!(names("pod rec-1: stepped aside", "rec-1") && names("delete pod rec-1", "rec-1"));
        assert!(!names("pod rec-10: stepped aside", "rec-1") && !names("pod my-rec-1.", "rec-1"));
    }
}
