//! Watches the cluster for new pods' sake: refused pods, LimitRanges, and sidecars that do not start.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::knowledge::Knowledge;
use super::pods::Following;
use super::{limit_ranges, pods, refusals};
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;

/// Updates `knowledge` forever.
pub(crate) async fn follow(
    client: kube::Client,
    config: Arc<ArcSwap<Config>>,
    knowledge: Knowledge,
    events: Events,
    metrics: Metrics,
) {
    let limits = limit_ranges::follow(client.clone(), knowledge.clone());
    let refusals = refusals::follow(client.clone(), config.clone(), knowledge.clone());
    let pods = pods::follow(Following { client, config, knowledge, events, metrics });
    tokio::join!(limits, refusals, pods);
}
