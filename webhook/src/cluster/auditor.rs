//! The auditor: one replica looks at all Redis Enterprise pods of the namespaces that opted in, counts what is not as it should
//! be, and tells the owners of the pods. It changes nothing.
//!
//! ```text
//! lease ──► one replica ──► watches say that something changed ──► a pass (audit::pass) ──► gauges, Events
//! ```
//!
//! The watches carry only metadata, and only trigger a pass, which reads the pods page by page. So memory does not grow with
//! the cluster. The Lease remembers which findings were told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use findings::{Code, Finding};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::access;
use super::knowledge::Knowledge;
use super::lease::{Lease, Times};
use super::pods::selector;
use crate::admission::annotations;
use crate::admission::pod::{INJECT, text};
use crate::admission::pusher::Pusher;
use crate::admission::surroundings::Identity;
use crate::audit::namespace::{ENABLED, is_opted_in, labelled_at};
use crate::audit::pass::Pass;
use crate::audit::pod::Known;
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;
use runtime::chain;

/// The page size of a list. A page of whole pods takes some MiB.
const PAGE: u32 = 100;
/// Changes come in bursts, so a pass begins this long after the first change.
const GATHER: Duration = Duration::from_secs(2);
/// The shortest time between two passes.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest time between two passes: permissions and the configuration change without a watch.
const INTERVAL: Duration = Duration::from_mins(1);
/// The timeout of one pass.
const TIMEOUT: Duration = Duration::from_mins(5);
/// The limit for accounts that are asked about in one pass.
const MOST_ACCOUNTS: usize = 1000;

/// What the auditor needs.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Auditor {
    /// The API server.
    pub client: kube::Client,
    /// The current configuration.
    pub config: Arc<ArcSwap<Config>>,
    /// What this replica knows about the cluster.
    pub knowledge: Knowledge,
    /// The Events for owners.
    pub events: Events,
    /// The metrics.
    pub metrics: Metrics,
    /// The namespace of the installation, with the Lease.
    pub namespace: String,
    /// The name of this replica.
    pub identity: String,
    /// The times of the election.
    pub times: Times,
    /// Whether this process may ask who may push.
    pub asks_permissions: bool,
    /// Whether LimitRanges change sidecars, so that a comparison needs to know them.
    pub fits_limits: bool,
}

impl Auditor {
    /// Audits forever, while this replica holds the Lease.
    pub async fn follow(self) {
        let lease = Lease::new(self.client.clone(), &self.namespace, self.identity.clone(), self.times);
        let (leading, leads) = watch::channel(false);
        tokio::join!(lease.keep(leading), self.audit_while_leading(&lease, leads));
    }

    async fn audit_while_leading(&self, lease: &Lease, mut leads: watch::Receiver<bool>) {
        loop {
            if leads.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            tracing::info!(identity = self.identity, "auditing the pods of Redis Enterprise");
            tokio::select! {
                () = self.audit(lease) => {}
                _lost = leads.wait_for(|leads| !*leads) => {}
            }
            // The next holder has its own gauges.
            self.metrics.no_findings();
            tracing::info!(identity = self.identity, "another replica audits the pods of Redis Enterprise");
        }
    }

    /// Makes one pass after another.
    async fn audit(&self, lease: &Lease) {
        let mut selected = String::new();
        let mut changes = futures::stream::pending().boxed();
        let mut is_broken = false;
        loop {
            let now = selector(&self.config.load());
            if selected != now {
                changes = self.changes(&now);
                selected = now;
            }
            let started = Instant::now();
            match tokio::time::timeout(TIMEOUT, self.pass(lease)).await {
                Ok(Ok(())) => is_broken = false,
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => chain(&error),
                        _ => "no answer in time".to_owned(),
                    };
                    if !std::mem::replace(&mut is_broken, true) {
                        tracing::warn!(error, "failed to audit the pods; the component audit contains the permission");
                    }
                }
            }
            let wait = async {
                gathered(&mut changes).await;
                tokio::time::sleep_until(started + PAUSE).await;
            };
            // Elapsed or not, the next pass begins.
            let _elapsed = tokio::time::timeout_at(started + INTERVAL, wait).await;
        }
    }

    /// A stream of changes: of the pods with these labels, and of the namespaces that opted in.
    fn changes(&self, selector: &str) -> BoxStream<'static, ()> {
        let pods: Api<PartialObjectMeta<Pod>> = Api::all(self.client.clone());
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let pods = watcher(pods, watcher::Config::default().labels(selector).page_size(PAGE)).default_backoff();
        let opted_in = format!("{INJECT}={ENABLED}");
        let namespaces = watcher(namespaces, watcher::Config::default().labels(&opted_in)).default_backoff();
        futures::stream::select(pods.filter_map(changed), namespaces.filter_map(changed)).boxed()
    }

    async fn pass(&self, lease: &Lease) -> kube::Result<()> {
        let config = self.config.load_full();
        let labelled = self.namespaces(&config).await?;
        let (mut pass, mut accounts) = (Pass::default(), HashMap::new());
        let mut page = ListParams::default().labels(&selector(&config)).limit(PAGE);
        let pods: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<Pod>(&()));
        loop {
            let listed = pods.list(&page).await?;
            for pod in listed.items {
                let pod = serde_json::to_value(pod).map_err(kube::Error::SerdeError)?;
                let name = text(&pod, "/metadata/namespace").unwrap_or_default();
                let Some(namespace) = labelled.get(name) else { continue };
                self.one(&pod, (name, namespace), &config, &mut pass);
                self.account(&pod, name, &config, &mut pass, &mut accounts).await;
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => break,
            }
        }
        self.metrics.found(pass.counts());
        self.tell(lease, pass).await
    }

    /// The namespaces that opted in, by name.
    async fn namespaces(&self, config: &Config) -> kube::Result<BTreeMap<String, Value>> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let opted_in = ListParams::default().labels(&format!("{INJECT}={ENABLED}"));
        let listed = namespaces.list_metadata(&opted_in).await?;
        let mut by_name = BTreeMap::new();
        for namespace in listed.items {
            let name = namespace.metadata.name.clone().unwrap_or_default();
            let namespace = serde_json::to_value(namespace).map_err(kube::Error::SerdeError)?;
            if is_opted_in(&namespace, &config.namespace) {
                by_name.insert(name, namespace);
            }
        }
        Ok(by_name)
    }

    fn one(&self, pod: &Value, (name, namespace): (&str, &Value), config: &Arc<Config>, pass: &mut Pass) {
        let identity = Identity::of(pod, Some(name));
        let surroundings = self.knowledge.surroundings(Some(name), identity.as_ref(), config);
        let is_unknown = self.fits_limits && !self.knowledge.knows_limits();
        let known = Known {
            config,
            surroundings: &surroundings,
            not_comparable: is_unknown.then_some("the LimitRanges are not known yet"),
            labelled: labelled_at(namespace),
            registered: None,
            left_alone: None,
        };
        pass.pod(pod, name, &known);
    }

    /// Asks whether the account of a pod may push, once a pass.
    async fn account(
        &self,
        pod: &Value,
        namespace: &str,
        config: &Config,
        pass: &mut Pass,
        asked: &mut HashMap<Pusher, Option<Finding>>,
    ) {
        let is_ended = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
        if !self.asks_permissions || is_ended {
            return;
        }
        let overridden = annotations::overridden(pod, config).config;
        let Some(pusher) = Pusher::of(pod, Some(namespace), &overridden) else { return };
        if !asked.contains_key(&pusher) && asked.len() < MOST_ACCOUNTS {
            let found = access::ask(&self.client, &pusher).await.unwrap_or_else(|error| {
                tracing::debug!(error = chain(&error), "an account is left out of this pass");
                None
            });
            asked.insert(pusher.clone(), found);
        }
        if let Some(Some(finding)) = asked.get(&pusher) {
            pass.account(pod, namespace, &pusher.account, finding);
        }
    }

    /// Tells the owners what nobody told them for a day.
    async fn tell(&self, lease: &Lease, pass: Pass) -> kube::Result<()> {
        let reports = pass.reports();
        let keys: Vec<_> = reports.keys().cloned().collect();
        for key in lease.untold(&keys).await? {
            let Some(report) = reports.get(&key) else { continue };
            let reason = match report.finding.code {
                Code::MayNotPush | Code::RoleBindingOnly | Code::BindingOfAnotherAccount => "LogShipperMayNotPush",
                _ => "LogShipperFinding",
            };
            tracing::info!(namespace = report.namespace, code = %report.finding.code, "told an owner of a finding");
            self.events.report(report.owner.clone(), &report.namespace, reason, &report.finding);
        }
        Ok(())
    }
}

/// A watch that failed starts again by itself, and the pass says what is wrong.
async fn changed<K>(event: watcher::Result<watcher::Event<K>>) -> Option<()> {
    event.ok().map(|_event| ())
}

/// Waits for a change, and for further changes of the same burst.
async fn gathered(changes: &mut (impl Stream<Item = ()> + Unpin)) {
    if changes.next().await.is_none() {
        // Watches never end. If one did, the regular passes would remain.
        return std::future::pending().await;
    }
    let more = async { while changes.next().await.is_some() {} };
    // The result does not matter: the next pass covers all changes.
    let _elapsed = tokio::time::timeout(GATHER, more).await;
}
