//! Kubernetes Events for the owners of pods: a warning in an answer reaches only the StatefulSet's controller.
//!
//! An event is built from the pod's ownerReferences by a task of its own, which first looks up whether that owner exists: the
//! answer never waits. When too many come at once the surplus is counted and dropped.

mod owners;

use std::time::Duration;

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

/// A rolling restart of a large cluster; what comes on top of it says nothing new.
const WAITING: usize = 128;
/// At most five events a second reach the API server.
const PACE: Duration = Duration::from_millis(200);
const COMPONENT: &str = "redis-log-webhook";

/// Where owners are told. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Option<mpsc::Sender<Note>>,
    metrics: Metrics,
}

/// What waits to be told.
#[derive(Debug)]
pub struct Queue {
    notes: mpsc::Receiver<Note>,
    metrics: Metrics,
}

/// An Event that is still to be made.
#[derive(Debug)]
struct Note {
    at: Timestamp,
    /// The object that is told, as the pod refers to it.
    owner: Value,
    namespace: String,
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Events {
    /// Nobody to tell, ever.
    pub fn nowhere(metrics: Metrics) -> Self {
        Self { queue: None, metrics }
    }

    /// Where owners are told, and what waits until an API server is known.
    pub fn new(metrics: Metrics) -> (Self, Queue) {
        let (queue, notes) = mpsc::channel(WAITING);
        (Self { queue: Some(queue), metrics: metrics.clone() }, Queue { notes, metrics })
    }

    /// Tells the pod's owner what became of it, if that is worth telling. Never waits.
    pub fn tell(&self, answer: &Answer) {
        let Some(queue) = &self.queue else { return };
        for note in notes(answer) {
            if queue.try_send(note).is_err() {
                self.metrics.event_dropped();
            }
        }
    }

    /// Warns the owner of pods, which `owner` refers to as they do. Never waits.
    pub(crate) fn tell_owner(&self, owner: Value, namespace: &str, reason: &'static str, message: String) {
        let Some(queue) = &self.queue else { return };
        let (at, namespace) = (Timestamp::now(), namespace.to_owned());
        if queue.try_send(Note { at, owner, namespace, kind: "Warning", reason, message }).is_err() {
            self.metrics.event_dropped();
        }
    }
}

impl Queue {
    /// Creates Events on the API server that `client` talks to, until nobody can tell anything any more. Only owners that exist in
    /// namespaces that opted in are told: a review may be forged.
    pub async fn send(mut self, client: kube::Client) {
        let mut owners = Owners::new(client.clone());
        while let Some(note) = self.notes.recv().await {
            let api: Api<Event> = Api::namespaced(client.clone(), &note.namespace);
            if let Err(refusal) = owners.check(&note.namespace, &note.owner).await {
                self.metrics.event_dropped();
                owners.say(&note.namespace, &refusal);
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

/// What an answer is worth: nothing for a pod without an owner, or one that is none of ours.
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
