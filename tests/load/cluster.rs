//! Creates pods on a real API server, alternately in a namespace that opted in and in one that did not.
//!
//! One client creates one pod at a time. The order alternates from pair to pair, so that both namespaces have the same
//! conditions.

use std::time::{Duration, Instant};

use anyhow::ensure;
use harness::cluster::Cluster;
use harness::pod_fixture;
use harness::servers::Servers;
use serde_json::{Value, json};

use crate::report::{Durations, print};
use harness::installation::Installation;

const LABELLED: &str = "labelled";
const UNLABELLED: &str = "unlabelled";
/// Pairs of pods for warming up, which are not counted.
const WARM_UP: u32 = 50;
const ANNOTATION: &str = "/metadata/annotations/redis-log-shipper.io~1status";

/// The flags of `cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// How many pods to create with the webhook, and how many without.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pods: u32,
}

/// Creates the pods and prints the times.
pub(crate) async fn run(load: &Load) -> anyhow::Result<()> {
    let Some(servers) = Servers::find("load cluster")? else { return Ok(()) };
    let cluster = Cluster::start(&servers).await?;
    let _installation =
        Installation::start(&cluster, "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push").await?;
    cluster.create_namespace(LABELLED, &json!({"redis-log-shipper.io/inject": "enabled"}), &["rec"]).await?;
    cluster.create_namespace(UNLABELLED, &json!({}), &["rec"]).await?;
    let (mut with, mut without) = (Durations::new()?, Durations::new()?);
    let mut pod = pod_fixture("a-vanilla")?;
    for pair in 0..WARM_UP + load.pods {
        if let Some(name) = pod.pointer_mut("/metadata/name") {
            *name = json!(format!("rec-{pair}"));
        }
        let order = if pair % 2 == 0 { [LABELLED, UNLABELLED] } else { [UNLABELLED, LABELLED] };
        for namespace in order {
            let took = create(&cluster, namespace, &pod).await?;
            if pair >= WARM_UP {
                if namespace == LABELLED { &mut with } else { &mut without }.record(took)?;
            }
        }
    }
    print(&format!("{} pods with the webhook and {} without, by turns, one at a time", with.count(), without.count()));
    tell("with the webhook", &with);
    tell("without", &without);
    let added = with.quantile_millis(0.5) - without.quantile_millis(0.5);
    print(&format!("difference of the medians: {added:.3} ms"));
    let calls = cluster.webhook_calls("inject.redis-log-shipper.io").await?;
    print(&format!("calls of the webhook: {calls} for {} pods and a few before them", WARM_UP + load.pods));
    Ok(())
}

/// The time to create `pod`. Fails unless it is injected exactly in the namespace that opted in.
async fn create(cluster: &Cluster, namespace: &str, pod: &Value) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let stored = cluster.create_pod(namespace, pod, false).await?;
    let took = start.elapsed();
    ensure!((namespace == LABELLED) == stored.pointer(ANNOTATION).is_some(), "wrongly injected, or not: {stored}");
    Ok(took)
}

fn tell(what: &str, durations: &Durations) {
    print(&format!(
        "{what:<18}{:.1} pods a second, median {:.3} ms, p99 {:.3} ms",
        1000.0 / durations.mean_millis(),
        durations.quantile_millis(0.5),
        durations.quantile_millis(0.99)
    ));
}
