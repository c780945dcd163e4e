//! Asks whether the accounts of new pods may push, and tells the owners of those that may not, before the first push fails.
//!
//! A separate task asks, so no answer waits. A permission may come seconds after the pod, from `managed_rbac` or from a person
//! who applies both. So the task waits before it asks, and asks once more before it tells anybody. It remembers each answer for
//! a minute.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use findings::Finding;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::access::{self, AskError};
use crate::admission::Answer;
use crate::admission::pusher::Pusher;
use crate::events::Events;
use crate::events::owners::Owners;
use runtime::chain;

/// The delay before the first question. `managed_rbac` needs less than a second.
const FIRST: Duration = Duration::from_secs(2);
/// The delay before the second question, after a first no.
const SECOND: Duration = Duration::from_secs(10);
/// The interval between questions: at most five accounts a second.
const PACE: Duration = Duration::from_millis(200);
/// How long an answer stays valid. The pods of a cluster come within seconds.
const FRESH_FOR: Duration = Duration::from_mins(1);
/// The limit for pushers that wait, and for remembered answers.
const MOST: usize = 128;
/// The reason of the Events.
const REASON: &str = "LogShipperMayNotPush";

/// Takes the pods to ask about. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    queue: Option<mpsc::Sender<Question>>,
}

/// The questions that wait.
#[derive(Debug)]
pub struct Questions {
    queue: mpsc::Receiver<Question>,
}

/// A new pod.
#[derive(Debug)]
struct Question {
    pusher: Pusher,
    owner: Value,
}

/// A pusher that waits for its next question, with the owners of its pods.
#[derive(Debug)]
struct Pending {
    due: Instant,
    is_second: bool,
    owners: Vec<Value>,
}

/// The last answer about a pusher.
#[derive(Debug)]
struct Remembered {
    until: Instant,
    finding: Option<Finding>,
    told: HashSet<String>,
}

impl Asking {
    /// The sender, and the questions that wait until an API server is known.
    pub fn new() -> (Self, Questions) {
        let (sender, queue) = mpsc::channel(MOST);
        (Self { queue: Some(sender) }, Questions { queue })
    }

    /// Asks about an injected pod that an owner has. Never waits: a pod too many is not asked about.
    pub fn ask(&self, answer: &Answer) {
        let (Some(queue), Some(pusher), Some(owner)) = (&self.queue, &answer.pusher, &answer.owner) else { return };
        if queue.try_send(Question { pusher: pusher.clone(), owner: owner.clone() }).is_err() {
            tracing::debug!(namespace = pusher.namespace, "too many new pods: not asking whether this one may push");
        }
    }
}

impl Questions {
    /// Asks the questions, until all senders are dropped.
    pub async fn answer(mut self, client: kube::Client, events: Events) {
        let mut task = Task {
            owners: Owners::new(client.clone()),
            client,
            events,
            pending: HashMap::new(),
            remembered: HashMap::new(),
            is_broken: false,
        };
        loop {
            let due = task.pending.values().map(|pending| pending.due).min();
            tokio::select! {
                question = self.queue.recv() => match question {
                    Some(question) => task.take(question),
                    None => break,
                },
                () = at(due) => task.ask().await,
            }
        }
    }
}

/// Waits until `due`, or forever.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Task {
    client: kube::Client,
    owners: Owners,
    events: Events,
    pending: HashMap<Pusher, Pending>,
    remembered: HashMap<Pusher, Remembered>,
    is_broken: bool,
}

impl Task {
    fn take(&mut self, Question { pusher, owner }: Question) {
        let now = Instant::now();
        self.remembered.retain(|_, remembered| now < remembered.until);
        if let Some(remembered) = self.remembered.get_mut(&pusher) {
            remembered.tell(&self.events, &pusher, owner);
        } else if let Some(pending) = self.pending.get_mut(&pusher) {
            if pending.owners.len() < MOST && !pending.owners.contains(&owner) {
                pending.owners.push(owner);
            }
        } else if self.pending.len() < MOST {
            self.pending.insert(pusher, Pending { due: now + FIRST, is_second: false, owners: vec![owner] });
        }
    }

    /// Asks about the pusher that is due, if any.
    async fn ask(&mut self) {
        let now = Instant::now();
        let due = self.pending.iter().filter(|(_, pending)| pending.due <= now).min_by_key(|(_, pending)| pending.due);
        let Some(pusher) = due.map(|(pusher, _)| pusher.clone()) else { return };
        let Some(mut pending) = self.pending.remove(&pusher) else { return };
        // A review may be forged, so each owner must exist in a namespace that opted in.
        let mut real = Vec::new();
        for owner in std::mem::take(&mut pending.owners) {
            match self.owners.check(&pusher.namespace, &owner).await {
                Ok(()) => real.push(owner),
                Err(refusal) => self.owners.log(&pusher.namespace, &refusal),
            }
        }
        if !real.is_empty() {
            match access::ask(&self.client, &pusher).await {
                Ok(Some(_)) if !pending.is_second => {
                    let again = Pending { due: Instant::now() + SECOND, is_second: true, owners: real };
                    self.pending.insert(pusher, again);
                }
                Ok(finding) => self.remember(pusher, finding, real),
                Err(error) => self.failed(&error),
            }
        }
        tokio::time::sleep(PACE).await;
    }

    fn remember(&mut self, pusher: Pusher, finding: Option<Finding>, owners: Vec<Value>) {
        self.is_broken = false;
        let mut remembered = Remembered { until: Instant::now() + FRESH_FOR, finding, told: HashSet::new() };
        for owner in owners {
            remembered.tell(&self.events, &pusher, owner);
        }
        // If it is full, the API server is asked again.
        if self.remembered.len() < MOST {
            self.remembered.insert(pusher, remembered);
        }
    }

    /// Logs a failed question, and no further one until a question succeeds.
    fn failed(&mut self, error: &AskError) {
        if !std::mem::replace(&mut self.is_broken, true) {
            tracing::warn!(
                error = chain(error),
                "no Event tells whether new pods may push; the component ask-permissions contains the permission to ask"
            );
        }
    }
}

impl Remembered {
    /// Tells `owner` what is wrong, once.
    fn tell(&mut self, events: &Events, pusher: &Pusher, owner: Value) {
        let Some(finding) = &self.finding else { return };
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.told.len() < MOST && self.told.insert(uid) {
            events.report(owner, &pusher.namespace, REASON, finding);
        }
    }
}
