//! The watch on Redis Enterprise's pods: which exist, and how their sidecars are.
//!
//! The API server selects them by the labels of the configuration, and of each we keep a few words only while its sidecar
//! does not start: memory grows with failing sidecars and not with the cluster.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
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

/// How often clocks are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many pods one page of a list holds.
const PAGE: u32 = 100;

/// Of a pod what concerns us.
pub(super) type Outline = Object<Spec, Status>;

/// Of a pod's spec its containers.
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

/// Of a pod's status how its containers are.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    start_time: Option<Timestamp>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

/// What the watch works with.
pub(super) struct Following {
    pub(super) client: kube::Client,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) knowledge: Knowledge,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
}

type Shown = Pin<Box<dyn Stream<Item = Result<Event<Outline>, watcher::Error>> + Send>>;

/// Follows the pods, for ever; starts again when other labels are configured.
pub(super) async fn follow(following: Following) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut watching = Watching::new("pods");
    loop {
        let selector = selector(&following.config.load());
        let mut shown = shown(&following.client, &selector);
        let mut listed = HashSet::new();
        while selector == self::selector(&following.config.load()) {
            tokio::select! {
                _ = ticks.tick() => following.look(),
                event = shown.next() => match event {
                    Some(Ok(event)) => following.take(event, &mut listed, &mut watching),
                    Some(Err(error)) => {
                        // It goes on from where it broke off, or begins anew, which `Init` says.
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

/// Where pods are asked for, as outlines.
pub(super) fn outlines(client: &kube::Client, namespace: Option<&str>) -> Api<Outline> {
    let pods = ApiResource::erase::<Pod>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &pods),
        None => Api::all_with(client.clone(), &pods),
    }
}

/// The labels of Redis Enterprise's pods, as a selector.
pub(super) fn selector(config: &Config) -> String {
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
                self.look();
            }
            Event::Apply(pod) => self.see(&pod, false),
            Event::Delete(pod) => {
                let (namespace, name) = names(&pod);
                self.knowledge.fuses().gone(&namespace, &name);
            }
        }
    }

    /// Takes notice of a pod, which may have been as it is for as long as it exists.
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
        // Of a pod that was there before us, the image says whether it is of this configuration.
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

    fn look(&self) {
        let config = self.config.load_full();
        let (blown, number) = {
            let mut fuses = self.knowledge.fuses();
            (fuses.look(&config, Instant::now(), Timestamp::now().as_second()), fuses.len())
        };
        let aside = self.knowledge.attempts().aside();
        self.metrics.left_alone(number, aside);
        for blown in &blown {
            self.tell(blown);
        }
    }

    fn tell(&self, blown: &Blown) {
        let Blown { namespace, pod, cause, .. } = blown;
        tracing::warn!(namespace, pod, cause, "a log shipper does not start; new pods of the namespace get none");
        if let Some(owner) = &blown.owner {
            let message = format!("redis-log-shipper: {}", blown.text());
            self.events.tell_owner(owner.clone(), namespace, "LogShipperFuseBlown", message);
        }
    }
}

fn names(pod: &Outline) -> (String, String) {
    let metadata = &pod.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// The object that manages a pod.
pub(super) fn owner(pod: &Outline) -> Option<Value> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    serde_json::to_value(owner).ok()
}

/// When a pod was made, as a second of the API server's clock.
pub(super) fn created(pod: &Outline) -> i64 {
    pod.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second())
}

/// The container that we added, if we did.
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
