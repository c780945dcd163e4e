//! Watches the LimitRanges of all namespaces.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::LimitRange;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use kube::api::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::knowledge::Knowledge;
use super::watching::Watching;
use crate::admission::limits::Limit;
use crate::config::Quantity;

/// The limits by namespace, and by the name of the LimitRange.
type Ranges = BTreeMap<String, BTreeMap<String, Vec<Limit>>>;

/// Watches the LimitRanges forever.
pub(super) async fn follow(client: kube::Client, knowledge: Knowledge) {
    let ranges: Api<LimitRange> = Api::all(client);
    let mut events = Box::pin(watcher(ranges, watcher::Config::default()).default_backoff());
    let (mut known, mut listed, mut watching) = (Ranges::new(), Ranges::new(), Watching::new("limitranges"));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(range)) => put(&mut listed, &range),
            Ok(Event::InitDone) => {
                known = std::mem::take(&mut listed);
                watching.goes_on();
            }
            Ok(Event::Apply(range)) => put(&mut known, &range),
            Ok(Event::Delete(range)) => {
                let (namespace, name) = names(&range);
                if let Some(ranges) = known.get_mut(namespace) {
                    ranges.remove(name);
                }
            }
            Err(error) => {
                // The known limits stay: old limits are better than none.
                watching.broke_off(&error);
                continue;
            }
        }
        knowledge.set_limits(snapshot(&known));
    }
}

fn snapshot(known: &Ranges) -> HashMap<String, Arc<[Limit]>> {
    let flat =
        known.iter().map(|(namespace, ranges)| (namespace.clone(), ranges.values().flatten().cloned().collect()));
    flat.filter(|(_, limits): &(String, Arc<[Limit]>)| !limits.is_empty()).collect()
}

fn names(range: &LimitRange) -> (&str, &str) {
    (range.metadata.namespace.as_deref().unwrap_or_default(), range.metadata.name.as_deref().unwrap_or_default())
}

fn put(ranges: &mut Ranges, range: &LimitRange) {
    let (namespace, name) = names(range);
    ranges.entry(namespace.to_owned()).or_default().insert(name.to_owned(), limits(range));
}

/// The limits of a LimitRange for containers and pods. Other types, such as claims, do not matter.
pub(crate) fn limits(range: &LimitRange) -> Vec<Limit> {
    let (_, name) = names(range);
    let items = range.spec.iter().flat_map(|spec| &spec.limits);
    let of_item = |item: &k8s_openapi::api::core::v1::LimitRangeItem| {
        let is_of_pod = match item.type_.as_str() {
            "Pod" => true,
            "Container" => false,
            _ => return Vec::new(),
        };
        let amount = |amounts: &Option<BTreeMap<String, Amount>>, resource: &str| {
            Quantity::parse(&amounts.as_ref()?.get(resource)?.0).ok()
        };
        let limit = |resource: &str| {
            let (min, max) = (amount(&item.min, resource), amount(&item.max, resource));
            Limit { range: name.to_owned(), is_of_pod, resource: resource.to_owned(), min, max }
        };
        let all = ["cpu", "memory", "ephemeral-storage"].map(limit).into_iter();
        all.filter(|limit| limit.min.is_some() || limit.max.is_some()).collect()
    };
    items.flat_map(of_item).collect()
}
