//! Kubernetes Events for the owners of pods: a warning in an answer reaches only the StatefulSet's controller.
//!
//! An event is built from the pod's ownerReferences, without looking anything up, and handed to a task of its own: the
//! answer never waits. When too many come at once the surplus is counted and dropped.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admission::{Answer, Verdict};
use crate::metrics::Metrics;

/// A rolling restart of a large cluster; what comes on top of it says nothing new.
const WAITING: usize = 128;
/// At most five events a second reach the API server.
const PACE: Duration = Duration::from_millis(200);
const COMPONENT: &str = "redis-log-webhook";

/// Where events are handed in. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<mpsc::Sender<Event>>,
    metrics: Metrics,
}

impl Events {
    /// Nobody to tell: no API server is known.
    pub fn nowhere(metrics: Metrics) -> Self {
        Self { queue: None, metrics }
    }

    /// Events to the API server that `client` talks to, and the task that sends them until `shutdown`.
    pub fn to(
        client: kube::Client,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, events) = mpsc::channel(WAITING);
        let sending = send(client, events, metrics.clone());
        // An API server that does not answer must not hold the shutdown up.
        (Self { queue: Some(queue), metrics }, async move {
            shutdown.run_until_cancelled(sending).await;
        })
    }

    /// Tells the pod's owner what became of it, if that is worth telling. Never waits.
    pub fn tell(&self, answer: &Answer) {
        let Some(queue) = &self.queue else { return };
        for event in events(answer) {
            if queue.try_send(event).is_err() {
                self.metrics.event_dropped();
            }
        }
    }
}

async fn send(client: kube::Client, mut events: mpsc::Receiver<Event>, metrics: Metrics) {
    while let Some(event) = events.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            metrics.event_dropped();
            tracing::warn!(namespace, %error, "failed to create an event");
        }
        tokio::time::sleep(PACE).await;
    }
}

/// The events that an answer is worth: none for a pod without an owner, or one that is none of ours.
fn events(answer: &Answer) -> Vec<Event> {
    let (Some(owner), Some(namespace)) = (&answer.owner, &answer.namespace) else { return Vec::new() };
    let injected = matches!(answer.verdict, Verdict::Injected(_));
    let reason = if injected { "LogShipperWarning" } else { "LogShipperNotInjected" };
    let mut notes: Vec<(&str, &str, String)> =
        answer.response.warnings.iter().map(|warning| ("Warning", reason, warning.clone())).collect();
    if injected {
        notes.push(("Normal", "LogShipperInjected", "the log shipper was added".to_owned()));
    }
    notes
        .into_iter()
        .filter_map(|(kind, reason, note)| {
            let message = format!("pod {}: {note}", answer.name);
            serde_json::from_value(event(owner, namespace, kind, reason, &message)).ok()
        })
        .collect()
}

fn event(owner: &Value, namespace: &str, kind: &str, reason: &str, message: &str) -> Value {
    let now = jiff::Timestamp::now();
    let name = owner.get("name").and_then(Value::as_str).unwrap_or("unknown");
    let second = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": {
            "apiVersion": owner.get("apiVersion"),
            "kind": owner.get("kind"),
            "name": name,
            "uid": owner.get("uid"),
            "namespace": namespace,
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "firstTimestamp": second,
        "lastTimestamp": second,
        "count": 1,
    })
}
