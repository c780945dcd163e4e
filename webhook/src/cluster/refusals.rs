//! Finds out whether pods were refused after they were given a sidecar: pods that the watch does not show.
//!
//! The watch may lag, so a pod that it does not show may exist. A list from the API server is never older than the request.
//! If it does not contain the pod, the owner's `FailedCreate` Event gives the reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::knowledge::Knowledge;
use super::pods::{Outline, created, outlines, owner, selector};
use crate::admission::attempts::Due;
use crate::admission::surroundings::Who;
use crate::config::Config;
use runtime::chain;

/// The interval at which pods are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The timeout for an answer of the API server.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many characters of a refusal are quoted.
const REFUSAL_CHARS: usize = 280;

/// Checks the pods that should exist by now, forever.
pub(super) async fn follow(client: kube::Client, config: Arc<ArcSwap<Config>>, knowledge: Knowledge) {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = knowledge.attempts().due(Instant::now());
        for due in due {
            let found = tokio::time::timeout(TIMEOUT, exists(&client, &config.load_full(), &due)).await;
            let Ok(found) = found else {
                knowledge.attempts().unclear(&due.identity);
                continue;
            };
            match found {
                Ok(false) if knowledge.does_see_pods() => {
                    let refusal = tokio::time::timeout(TIMEOUT, refusal(&client, &due)).await.unwrap_or_default();
                    if knowledge.attempts().refused(&due.identity, words(refusal.as_deref()), Instant::now()) {
                        let (namespace, pod) = (&due.identity.namespace, &due.identity.who);
                        tracing::warn!(
                            namespace,
                            ?pod,
                            refusal,
                            "a pod was refused with the log shipper; stepping aside"
                        );
                    }
                }
                Ok(_) => knowledge.attempts().unclear(&due.identity),
                Err(error) => {
                    knowledge.attempts().unclear(&due.identity);
                    tracing::warn!(
                        error = chain(&error),
                        "failed to check whether a pod exists; not stepping aside for it"
                    );
                }
            }
        }
    }
}

/// Whether the pod exists, or any new pod of its owner.
async fn exists(client: &kube::Client, config: &Config, due: &Due) -> Result<bool, kube::Error> {
    let pods = outlines(client, Some(&due.identity.namespace));
    match &due.identity.who {
        Who::Pod(name) => {
            let found = pods.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await?;
            Ok(!found.items.is_empty())
        }
        Who::Owner(uid) => {
            let found = pods.list(&ListParams::default().labels(&selector(config))).await?;
            let uid_of = |owner: &Value| owner.get("uid").and_then(Value::as_str).map(ToOwned::to_owned);
            let is_of_owner = |pod: &Outline| owner(pod).as_ref().and_then(uid_of).as_ref() == Some(uid);
            Ok(found.items.iter().any(|pod| is_of_owner(pod) && created(pod) >= due.since))
        }
    }
}

/// The message of the refusal, from the owner's Events.
async fn refusal(client: &kube::Client, due: &Due) -> Option<String> {
    let uid = due.owner.as_ref()?.get("uid")?.as_str()?;
    let events: Api<Event> = Api::namespaced(client.clone(), &due.identity.namespace);
    let selected = ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedCreate"));
    let events = match events.list(&selected).await {
        Ok(events) => events.items,
        Err(error) => {
            tracing::debug!(error = chain(&error), "failed to read the Events of an owner");
            return None;
        }
    };
    let of_pod = |event: &Event| match &due.identity.who {
        Who::Pod(name) => event.message.as_ref().is_some_and(|message| message.contains(name.as_str())),
        Who::Owner(_) => true,
    };
    let last = events.into_iter().filter(of_pod).max_by_key(|event| {
        event.last_timestamp.as_ref().map(|at| at.0).or(event.metadata.creation_timestamp.as_ref().map(|at| at.0))
    });
    last?.message
}

/// What happened and how to fix it, for the owner.
fn words(refusal: Option<&str>) -> String {
    let said = refusal.unwrap_or("the reason is unknown; see the Events of the pod's owner");
    let change = match said {
        said if said.contains("quota") && said.contains("ephemeral-storage") => {
            "set resources.ephemeralStorage in the webhook's configuration, or raise the ResourceQuota"
        }
        said if said.contains("quota") => "raise the ResourceQuota, or lower resources in the webhook's configuration",
        said if said.contains("usage") && (said.contains("maximum") || said.contains("minimum")) => {
            "change the LimitRange, or resources in the webhook's configuration"
        }
        _ => {
            "exempt the container log-shipper from the policy that refused it, or annotate the pod with \
             redis-log-shipper.io/inject=false"
        }
    };
    // The end of the message names the cause. Its start names the pod and the controller.
    let start = said.chars().count().saturating_sub(REFUSAL_CHARS);
    let said: String = said.chars().skip(start).collect();
    format!(
        "stepped aside: the pod is refused with the log shipper, so it gets none; {change}, then delete the pod; the \
         refusal: {said}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_fix_for_each_refusal() {
        for (said, change) in [
            (Some("exceeded quota: small, requested: cpu=1"), "raise the ResourceQuota, or lower resources"),
            (Some("failed quota: q: must specify limits.ephemeral-storage for: log-shipper"), "ephemeralStorage"),
            (Some("maximum cpu usage per Pod is 2, but limit is 3"), "change the LimitRange"),
            (Some("denied: no sidecars"), "exempt the container log-shipper"),
            (None, "the reason is unknown"),
        ] {
            let words = words(said);
            assert!(words.contains(change) && words.contains(said.unwrap_or_default()), "{words}");
        }
        assert!(words(Some(&"é".repeat(2000))).chars().count() <= 580);
    }
}
