//! Kubernetes Events for the owners of pods. A warning in an answer reaches only the controller that created the pod.
//!
//! A separate task creates the Events, so no answer waits. It first checks that the pod's owner exists. If too many Events
//! come at once, the surplus is dropped and counted.

pub(crate) mod owners;

use std::time::Duration;

use findings::Finding;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::admission::skip::Skip;
use crate::admission::{Answer, Verdict};
use crate::metrics::Metrics;
use owners::Owners;
use runtime::chain;

/// Enough for a rolling restart of a large cluster. Further Events would say nothing new.
const WAITING: usize = 128;
/// The interval between Events: at most five a second reach the API server.
const PACE: Duration = Duration::from_millis(200);
const COMPONENT: &str = "redis-log-webhook";

/// Sends Events for owners. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<mpsc::Sender<Note>>,
    metrics: Metrics,
}

/// The Events that wait.
#[derive(Debug)]
pub struct Queue {
    notes: mpsc::Receiver<Note>,
    metrics: Metrics,
}

/// An Event to create.
#[derive(Debug)]
struct Note {
    at: Timestamp,
    /// The object that the Event is about, as an ownerReference.
    owner: Value,
    namespace: String,
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Events {
    /// Drops all Events.
    pub fn nowhere(metrics: Metrics) -> Self {
        Self { queue: None, metrics }
    }

    /// The sender, and the queue of Events that wait until an API server is known.
    pub fn new(metrics: Metrics) -> (Self, Queue) {
        let (queue, notes) = mpsc::channel(WAITING);
        (Self { queue: Some(queue), metrics: metrics.clone() }, Queue { notes, metrics })
    }

    /// Creates Events about an answer for the pod's owner. Never waits.
    pub fn notify(&self, answer: &Answer) {
        let Some(queue) = &self.queue else { return };
        for note in notes(answer) {
            if queue.try_send(note).is_err() {
                self.metrics.event_dropped();
            }
        }
    }

    /// Creates a warning for `owner` with a finding. Never waits.
    pub(crate) fn report(&self, owner: Value, namespace: &str, reason: &'static str, finding: &Finding) {
        self.warn_owner(owner, namespace, reason, format!("redis-log-shipper: {}", finding.with_url()));
    }

    /// Creates a warning for `owner`, which is an ownerReference. Never waits.
    pub(crate) fn warn_owner(&self, owner: Value, namespace: &str, reason: &'static str, message: String) {
        let Some(queue) = &self.queue else { return };
        let (at, namespace) = (Timestamp::now(), namespace.to_owned());
        if queue.try_send(Note { at, owner, namespace, kind: "Warning", reason, message }).is_err() {
            self.metrics.event_dropped();
        }
    }
}

impl Queue {
    /// Creates the queued Events with `client`, until all senders are dropped. A review may be forged, so the owner must
    /// exist in a namespace that opted in.
    pub async fn send(mut self, client: kube::Client) {
        let mut owners = Owners::new(client.clone());
        while let Some(note) = self.notes.recv().await {
            let api: Api<Event> = Api::namespaced(client.clone(), &note.namespace);
            if let Err(refusal) = owners.check(&note.namespace, &note.owner).await {
                self.metrics.event_dropped();
                owners.log(&note.namespace, &refusal);
            } else if let Err(error) = create(&api, &note).await {
                self.metrics.event_dropped();
                tracing::warn!(namespace = note.namespace, error = chain(&*error), "failed to create an Event");
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

async fn create(api: &Api<Event>, note: &Note) -> Result<(), Box<dyn std::error::Error>> {
    let event = serde_json::from_value(event(note))?;
    api.create(&PostParams::default(), &event).await?;
    Ok(())
}

/// The Events for an answer: none for a pod without an owner, or for a pod that is not Redis Enterprise's.
fn notes(answer: &Answer) -> Vec<Note> {
    let (Some(owner), Some(namespace)) = (&answer.owner, &answer.namespace) else { return Vec::new() };
    let note = |kind, reason, text: &str| Note {
        at: Timestamp::now(),
        owner: owner.clone(),
        namespace: namespace.clone(),
        kind,
        reason,
        message: format!("pod {}: {text}", answer.name),
    };
    let injected = matches!(answer.verdict, Verdict::Injected(_));
    let reason = match answer.verdict {
        Verdict::Injected(_) => "LogShipperWarning",
        Verdict::Skipped(Skip::SteppedAside) => "LogShipperSteppedAside",
        Verdict::Skipped(Skip::FuseBlown) => "LogShipperFuseBlown",
        _ => "LogShipperNotInjected",
    };
    let mut notes: Vec<_> = answer.messages.iter().map(|warning| note("Warning", reason, warning)).collect();
    if injected {
        notes.push(note("Normal", "LogShipperInjected", "the log shipper was added"));
    }
    notes
}

fn event(note: &Note) -> Value {
    let name = note.owner.get("name").and_then(Value::as_str).unwrap_or("unknown");
    let second = note.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "metadata": {"generateName": format!("{name}."), "namespace": note.namespace},
        "involvedObject": {
            "apiVersion": note.owner.get("apiVersion"),
            "kind": note.owner.get("kind"),
            "name": name,
            "uid": note.owner.get("uid"),
            "namespace": note.namespace,
        },
        "type": note.kind,
        "reason": note.reason,
        "message": note.message,
        "source": {"component": COMPONENT},
        "firstTimestamp": second,
        "lastTimestamp": second,
        "count": 1,
    })
}
