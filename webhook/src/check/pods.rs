//! The Redis Enterprise pods: page by page, because a cluster may have thousands.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use findings::{Code, Outcome};
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::LimitRange;
use kube::api::ListParams;
use serde_json::Value;

use super::installation::Installed;
use super::namespaces::Namespaces;
use super::reader::{CONCURRENCY, Reader, Unread, What};
use super::scope::Scope;
use crate::admission::annotations::overridden;
use crate::admission::limits::Limit;
use crate::admission::pod::{name, text};
use crate::admission::pusher::Pusher;
use crate::admission::surroundings::Surroundings;
use crate::audit::namespace;
use crate::audit::pod::{self, Known};
use crate::cluster::{limit_ranges, pods::selector};

/// The reasons of the Events about pods that the webhook left alone.
const LEFT_ALONE: [(Code, &str); 2] =
    [(Code::SteppedAside, "LogShipperSteppedAside"), (Code::FuseBlown, "LogShipperFuseBlown")];

/// The result for all pods.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    /// One row a check.
    pub(crate) rows: Vec<(String, Outcome)>,
    /// How many Redis Enterprise pods each namespace has.
    pub(crate) counted: BTreeMap<String, usize>,
    /// Who pushes.
    pub(crate) pushers: BTreeSet<Pusher>,
    /// The pods whose sidecars run, as namespace and name.
    pub(crate) sidecars: Vec<(String, String)>,
}

/// What all pods of a namespace have in common.
#[derive(Default)]
struct Common {
    surroundings: Surroundings,
    left_alone: Vec<(Code, String)>,
}

/// Checks the pods in `scope`.
pub(crate) async fn check(
    reader: &Reader,
    scope: &Scope,
    installed: &Installed,
    namespaces: &Namespaces,
    native_sidecars: bool,
) -> Pods {
    let mut pods = Pods::default();
    let mut not_comparable = installed.not_comparable.clone();
    let mut common = HashMap::<String, Common>::new();
    if installed.fits_limits {
        match listed(reader, scope, "limitranges", &ListParams::default()).await {
            Ok(ranges) => add_limits(&mut common, ranges),
            Err(unread) => {
                let what = What::list("limitranges");
                pods.rows.push(("LimitRanges".to_owned(), unread.outcome(&what)));
                not_comparable.get_or_insert_with(|| format!("without the permission to {what}"));
            }
        }
    }
    let mut knows_events = true;
    for (code, reason) in LEFT_ALONE {
        let selected = ListParams::default().fields(&format!("reason={reason}"));
        match listed(reader, scope, "events", &selected).await {
            Ok(events) => add_events(&mut common, code, &events),
            Err(unread) if knows_events => {
                knows_events = false;
                pods.rows.push((format!("Events {reason}"), unread.outcome(&What::list("events"))));
            }
            Err(_) => {}
        }
    }
    let selected = ListParams::default().labels(&selector(&installed.config));
    for path in scope.paths("pods") {
        let read = reader.pages(&path, selected.clone(), |page| {
            for pod in page {
                let name = text(&pod, "/metadata/namespace").unwrap_or_default().to_owned();
                *pods.counted.entry(name.clone()).or_default() += 1;
                let common = common.entry(name.clone()).or_default();
                common.surroundings.native_sidecars = Some(native_sidecars);
                let labelled = namespaces.get(&name).map(|it| namespace::is_opted_in(it, &scope.installation));
                let known = Known {
                    config: &installed.config,
                    surroundings: &common.surroundings,
                    not_comparable: not_comparable.as_deref(),
                    labelled: namespaces.get(&name).and_then(namespace::labelled_at),
                    registered: installed.registered,
                    left_alone: knows_events.then_some(&common.left_alone),
                };
                if labelled == Some(true) && installed.knows_config {
                    let config = overridden(&pod, known.config).config;
                    pods.pushers.extend(Pusher::of(&pod, Some(&name), &config));
                }
                if let Some(pod_name) = pod::running_sidecar(&pod) {
                    pods.sidecars.push((name.clone(), pod_name.to_owned()));
                }
                one(&pod, &name, labelled, &known, &mut pods.rows);
            }
        });
        if let Err(unread) = read.await {
            let of = path.strip_prefix("/api/v1/").unwrap_or(&path).to_owned();
            pods.rows.push((of, unread.outcome(&What::list("pods"))));
        }
    }
    pods
}

/// Checks one pod. Pods of a namespace that did not opt in are the namespace's own finding.
fn one(pod: &Value, namespace: &str, labelled: Option<bool>, known: &Known<'_>, rows: &mut Vec<(String, Outcome)>) {
    let pod_name = pod.get("metadata").and_then(name).unwrap_or_default();
    let has_ended = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
    if has_ended || labelled == Some(false) {
        return;
    }
    let sidecar = match pod::sidecar(pod, namespace, known) {
        Outcome::Found(_) if labelled.is_none() && !pod::has_sidecar(pod) => {
            Outcome::Skipped("it is not known whether the namespace is labelled".to_owned())
        }
        outcome => outcome,
    };
    rows.push((format!("pod {namespace}/{pod_name} has the current sidecar"), sidecar));
    for finding in pod::invalid_annotations(pod, namespace, known.config) {
        rows.push((format!("pod {namespace}/{pod_name}: annotations"), Outcome::Found(finding)));
    }
    if let Some(finding) = pod::condition(pod, namespace) {
        rows.push((format!("pod {namespace}/{pod_name}: the sidecar runs"), Outcome::Found(finding)));
    }
}

async fn listed(reader: &Reader, scope: &Scope, resource: &str, selected: &ListParams) -> Result<Vec<Value>, Unread> {
    let paths = scope.paths(resource);
    let lists = stream::iter(&paths).map(|path| reader.list(path, selected.clone()));
    let lists: Vec<_> = lists.buffered(CONCURRENCY).collect().await;
    Ok(lists.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn add_limits(common: &mut HashMap<String, Common>, ranges: Vec<Value>) {
    let mut limits = HashMap::<String, Vec<Limit>>::new();
    for range in ranges {
        let namespace = text(&range, "/metadata/namespace").unwrap_or_default().to_owned();
        // The API server checked it.
        let Ok(range) = serde_json::from_value::<LimitRange>(range) else { continue };
        limits.entry(namespace).or_default().extend(limit_ranges::limits(&range));
    }
    for (namespace, limits) in limits {
        common.entry(namespace).or_default().surroundings.limits = Some(limits.into());
    }
}

fn add_events(common: &mut HashMap<String, Common>, code: Code, events: &[Value]) {
    for event in events {
        let namespace = text(event, "/metadata/namespace").unwrap_or_default().to_owned();
        let message = text(event, "/message").unwrap_or_default().to_owned();
        common.entry(namespace).or_default().left_alone.push((code, message));
    }
}
