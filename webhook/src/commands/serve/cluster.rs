//! The flags for what the webhook does with the API server, besides its certificate.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::OptionFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::asking::Asking;
use crate::cluster::auditor::Auditor;
use crate::cluster::knowledge::Knowledge;
use crate::cluster::lease::Times;
use crate::cluster::{api, step_aside};
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;

/// The delay before an API server that did not answer is tried again.
const CONNECT_INTERVAL: Duration = Duration::from_secs(30);

/// The flags. A component of the manifests sets each, and contains its permissions.
#[derive(Clone, Copy, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Cluster {
    /// Let the pods of all namespaces that opted in push, with one managed ClusterRoleBinding.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_MANAGED_RBAC")]
    pub(super) managed_rbac: bool,
    /// Watch Redis Enterprise's pods and LimitRanges: leave pods alone that are refused with the sidecar or whose sidecars
    /// do not start, and fit the sidecar into LimitRanges.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_STEP_ASIDE")]
    step_aside: bool,
    /// Ask the API server whether the ServiceAccount of a new pod may push, and tell the pod's owner if it may not.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_ASK_PERMISSIONS")]
    ask_permissions: bool,
    /// Watch Redis Enterprise's pods, and report those without the current sidecar and those that may not push. A Lease
    /// elects one replica.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_AUDIT")]
    audit: bool,
}

/// What the handler of reviews passes its answers to.
pub(super) struct Followed {
    pub(super) events: Events,
    pub(super) asking: Asking,
}

impl Cluster {
    /// Starts everything that follows the API server. The webhook works without one.
    pub(super) async fn follow(
        self,
        (config, namespace): (&Arc<ArcSwap<Config>>, &str),
        knowledge: &Knowledge,
        metrics: &Metrics,
        ended: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Followed {
        if !self.step_aside {
            tracing::info!(
                "without --step-aside, a pod that is refused because of the sidecar stays refused; the component \
                 step-aside sets the flag"
            );
        }
        let (events, queue) = Events::new(metrics.clone());
        let (asking, questions) = if self.ask_permissions {
            let (asking, questions) = Asking::new();
            (asking, Some(questions))
        } else {
            (Asking::default(), None)
        };
        let followed = Followed { events: events.clone(), asking };
        let (config, knowledge, metrics, ended) = (config.clone(), knowledge.clone(), metrics.clone(), ended.clone());
        let namespace = namespace.to_owned();
        // `sidecarMode: auto` needs the first answer, so the start waits for it.
        let mut connected = api::connect().await;
        let following = async move {
            let (client, native_sidecars) = loop {
                match connected {
                    Some(connected) => break connected,
                    None => tokio::time::sleep(CONNECT_INTERVAL).await,
                }
                connected = api::connect().await;
            };
            knowledge.set_native_sidecars(native_sidecars);
            let asking = questions.map(|questions| questions.answer(client.clone(), events.clone()));
            let auditing = self.audit.then(|| {
                Auditor {
                    client: client.clone(),
                    config: config.clone(),
                    knowledge: knowledge.clone(),
                    events: events.clone(),
                    metrics: metrics.clone(),
                    namespace,
                    identity: identity(),
                    times: Times::default(),
                    asks_permissions: self.ask_permissions,
                    fits_limits: self.step_aside,
                }
                .follow()
            });
            let aside =
                self.step_aside.then(|| step_aside::follow(client.clone(), config, knowledge, events.clone(), metrics));
            tokio::join!(
                queue.send(client.clone()),
                OptionFuture::from(asking),
                OptionFuture::from(auditing),
                OptionFuture::from(aside)
            );
        };
        tasks.spawn(async move {
            // An API server that does not answer must not delay the shutdown.
            ended.run_until_cancelled(Box::pin(following)).await;
        });
        followed
    }
}

/// The name of this replica in the Lease: in a cluster, the name of its pod.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    format!("{host}_{}", std::process::id())
}
