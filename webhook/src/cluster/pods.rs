//! The watch on Redis Enterprise's pods: which pods exist, and in which condition their sidecars are.
//!
//! The API server selects the pods by the configured labels. A pod is remembered only while its sidecar does not start, so
//! memory grows with the failing sidecars and not with the cluster.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use findings::Code;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ApiResource, Object};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::knowledge::Knowledge;
use super::watching::Watching;
use crate::admission::fuse::{Blown, Condition, Seen};
use crate::admission::pod::{INJECTED, SIDECAR, STATUS};
use crate::admission::surroundings::{Identity, Who};
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;

/// The interval at which the fuses are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The page size of a list.
const PAGE: u32 = 100;

/// The part of a pod that matters here.
pub(super) type Outline = Object<Spec, Status>;

/// The containers of a pod's spec.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

/// The conditions of the containers in a pod's status.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    start_time: Option<Timestamp>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

/// What the watch needs.
pub(super) struct Following {
    pub(super) client: kube::Client,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) knowledge: Knowledge,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
}

type Shown = Pin<Box<dyn Stream<Item = Result<Event<Outline>, watcher::Error>> + Send>>;

/// Watches the pods forever. Starts again when the configured labels change.
pub(super) async fn follow(following: Following) {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    let mut watching = Watching::new("pods");
    loop {
        let selector = selector(&following.config.load());
        let mut shown = shown(&following.client, &selector);
        let mut listed = HashSet::new();
        while selector == self::selector(&following.config.load()) {
            tokio::select! {
                _ = ticks.tick() => following.check_fuses(),
                event = shown.next() => match event {
                    Some(Ok(event)) => following.take(event, &mut listed, &mut watching),
                    Some(Err(error)) => {
                        // The watch resumes, or starts again with `Init`.
                        following.knowledge.attempts().interrupted();
                        watching.broke_off(&error);
                    }
                    None => break,
                }
            }
        }
        following.knowledge.sees_pods(false);
    }
}

/// The API for outlines of pods.
pub(super) fn outlines(client: &kube::Client, namespace: Option<&str>) -> Api<Outline> {
    let pods = ApiResource::erase::<Pod>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &pods),
        None => Api::all_with(client.clone(), &pods),
    }
}

/// The configured labels, as a selector.
pub(crate) fn selector(config: &Config) -> String {
    let labels = config.matching.labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.chain([config.matching.cluster_label.clone()]).collect::<Vec<_>>().join(",")
}

fn shown(client: &kube::Client, selector: &str) -> Shown {
    let config = watch::Config::default().labels(selector).page_size(PAGE);
    Box::pin(watch(outlines(client, None), config).default_backoff())
}

impl Following {
    fn take(&self, event: Event<Outline>, listed: &mut HashSet<(String, String)>, watching: &mut Watching) {
        match event {
            Event::Init => {
                self.knowledge.sees_pods(false);
                listed.clear();
            }
            Event::InitApply(pod) => {
                listed.insert(names(&pod));
                self.see(&pod, true);
            }
            Event::InitDone => {
                let key = |namespace: &str, pod: &str| (namespace.to_owned(), pod.to_owned());
                self.knowledge.fuses().retain(|namespace, pod| listed.contains(&key(namespace, pod)));
                self.knowledge.sees_pods(true);
                watching.goes_on();
                self.check_fuses();
            }
            Event::Apply(pod) => self.see(&pod, false),
            Event::Delete(pod) => {
                let (namespace, name) = names(&pod);
                self.knowledge.fuses().gone(&namespace, &name);
            }
        }
    }

    /// Records a pod. A listed pod may have been in its condition since it was created.
    fn see(&self, pod: &Outline, is_listed: bool) {
        let (namespace, name) = names(pod);
        let has_sidecar = sidecar(pod).is_some();
        let owner = owner(pod);
        {
            let mut attempts = self.knowledge.attempts();
            let who = owner.as_ref().and_then(|owner| owner.get("uid")?.as_str()).map(|uid| Who::Owner(uid.to_owned()));
            for who in who.into_iter().chain([Who::Pod(name.clone())]) {
                attempts.shown(&Identity { namespace: namespace.clone(), who }, has_sidecar, created(pod));
            }
        }
        if !has_sidecar {
            return;
        }
        let config = self.config.load();
        let overrides = pod.metadata.annotations.iter().flatten();
        let has_own_image = overrides.filter(|(key, _)| *key == "redis-log-shipper.io/image").count() > 0;
        // For a pod that is older than this process, the image shows whether it comes from the current configuration.
        let is_current = !has_own_image && (!is_listed || sidecar(pod).is_some_and(|it| it.image == config.image));
        let started = pod.status.as_ref().and_then(|status| status.start_time).filter(|_| is_listed);
        let age = started.and_then(|started| Duration::try_from(Timestamp::now().duration_since(started)).ok());
        let seen = Seen {
            namespace,
            pod: name,
            owner,
            condition: condition(pod),
            for_at_least: age.unwrap_or_default(),
            is_current,
        };
        if let Some(closed) = self.knowledge.fuses().seen(seen, Instant::now()) {
            tracing::info!(namespace = closed.namespace, "a log shipper runs again; new pods of the namespace get one");
        }
    }

    fn check_fuses(&self) {
        let config = self.config.load_full();
        let (blown, number) = {
            let mut fuses = self.knowledge.fuses();
            (fuses.update(&config, Instant::now(), Timestamp::now().as_second()), fuses.len())
        };
        let aside = self.knowledge.attempts().aside();
        self.metrics.left_alone(number, aside);
        for blown in &blown {
            self.report(blown);
        }
    }

    fn report(&self, blown: &Blown) {
        let Blown { namespace, pod, cause, .. } = blown;
        tracing::warn!(namespace, pod, cause, "a log shipper does not start; new pods of the namespace get none");
        if let Some(owner) = &blown.owner {
            let message = format!("redis-log-shipper: {}", Code::FuseBlown.explained(&blown.text()));
            self.events.warn_owner(owner.clone(), namespace, "LogShipperFuseBlown", message);
        }
    }
}

fn names(pod: &Outline) -> (String, String) {
    let metadata = &pod.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// The pod's reference to the object that controls it.
pub(super) fn owner(pod: &Outline) -> Option<Value> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    serde_json::to_value(owner).ok()
}

/// The pod's creation time, in seconds of the API server's clock.
pub(super) fn created(pod: &Outline) -> i64 {
    pod.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second())
}

/// The container that we added, if any.
fn sidecar(pod: &Outline) -> Option<&Container> {
    let status = pod.metadata.annotations.as_ref()?.get(STATUS)?;
    let mut all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    all.find(|container| container.name == SIDECAR && status == INJECTED)
}

fn condition(pod: &Outline) -> Condition {
    let Some(status) = &pod.status else { return Condition::Unknown };
    let mut all = status.container_statuses.iter().chain(&status.init_container_statuses);
    let state = all.find(|status| status.name == SIDECAR).and_then(|status| status.state.as_ref());
    let Some(state) = state else { return Condition::Unknown };
    if let Some(running) = &state.running {
        return running.started_at.as_ref().map_or(Condition::Unknown, |at| Condition::Running(at.0.as_second()));
    }
    let Some(waiting) = &state.waiting else { return Condition::Unknown };
    Condition::of_waiting(waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default())
}
