//! The rollout: evicts a pod, waits until its successor is Ready, compares, and goes on with the next one.
//!
//! It stops at the first thing that is not as expected. It then says what, and touches nothing more.

use std::io::Write;
use std::time::Duration;

use findings::{Code, Finding};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Eviction, Failed};
use super::health::unhealthy;
use super::member::Member;
use super::plan::{Need, Step, need, ordered};
use super::progress::{Progress, words};
use super::trial::Trial;
use crate::admission;
use crate::admission::pod::INJECT;
use crate::audit;
use crate::audit::namespace::ENABLED;

/// The interval at which the pods are read while the rollout waits.
const POLL: Duration = Duration::from_secs(1);
/// The first and the longest delay before an eviction is tried again.
const FIRST_DELAY: Duration = Duration::from_secs(2);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The webhook creates its Events a moment after it has answered.
const EVENT_DELAY: Duration = Duration::from_secs(2);

/// Why a rollout ends before every pod is restarted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Something is not as it should be.
    #[error("{}: {}", .0.code, .0.problem)]
    Found(Finding),
    /// A signal came.
    #[error("interrupted {0}; run the same command again to go on")]
    Interrupted(String),
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A rollout.
pub(crate) struct Rollout<W: Write> {
    /// The namespace.
    pub(crate) cluster: Cluster,
    /// Whether sidecars of another version or configuration are replaced.
    pub(crate) drift: bool,
    /// The longest wait for each step of each pod.
    pub(crate) timeout: Duration,
    /// Cancelled by a signal.
    pub(crate) stop: CancellationToken,
    /// What a person sees.
    pub(crate) progress: Progress<W>,
}

impl<W: Write> Rollout<W> {
    /// The plan, after every check that needs no restart.
    pub(crate) async fn plan(&self) -> Result<Vec<Step>, Stop> {
        let namespace = &self.cluster.namespace;
        if self.cluster.labels().await?.get(INJECT).map(String::as_str) != Some(ENABLED) {
            let problem =
                format!("namespace {namespace} lacks the label {INJECT}={ENABLED}, so a restart would add no sidecar");
            return Err(Stop::Found(audit::finding(Code::NamespaceNotLabelled, problem, namespace, "")));
        }
        if !self.cluster.is_registered().await? {
            let problem = "the webhook is not installed, so a restart would add no sidecar";
            return Err(Stop::Found(Finding::with_names(Code::WebhookMissing, problem, &[])));
        }
        let pods = self.cluster.pods().await?;
        let mut steps = Vec::new();
        for pod in &pods {
            let (step, trial) = self.step(pod).await?;
            if let (Need::Restart(_), Trial::Bare | Trial::Refused(_)) = (&step.need, &trial) {
                self.check_injection(&pods, trial).await?;
            }
            steps.push(step);
        }
        Ok(ordered(steps))
    }

    /// Restarts the pods of a plan that need it. Returns how many.
    pub(crate) async fn run(&mut self, plan: &[Step]) -> Result<usize, Stop> {
        let planned: Vec<_> = plan.iter().filter(|step| matches!(step.need, Need::Restart(_))).collect();
        let mut restarted = 0;
        for (number, step) in (1..).zip(&planned) {
            let name = &step.member.name;
            self.await_health(&format!("before pod {name}")).await?;
            // Others may have restarted it meanwhile, or the webhook may be gone.
            let pods = self.cluster.pods().await?;
            let Some(pod) = pods.iter().find(|pod| self.member(pod).name == *name) else {
                self.progress.line(&format!("{number}/{} {name}: it is gone, nothing to do", planned.len()));
                continue;
            };
            let (step, trial) = self.step(pod).await?;
            let why = match &step.need {
                Need::Keep(why) => {
                    self.progress.line(&format!("{number}/{} {name}: nothing to do: {why}", planned.len()));
                    continue;
                }
                Need::Restart(why) => why,
            };
            if trial == Trial::Bare || matches!(trial, Trial::Refused(_)) {
                self.check_injection(&pods, trial).await?;
            }
            self.progress.line(&format!("{number}/{} {name}: evicting it: {why}", planned.len()));
            let started = Instant::now();
            self.pause(Duration::ZERO, &format!("before pod {name} was evicted")).await?;
            self.evict(&step.member).await?;
            self.await_successor(&step.member).await?;
            restarted += 1;
            let took = words(started.elapsed());
            self.progress.line(&format!("{number}/{} {name}: Ready with its sidecar after {took}", planned.len()));
        }
        Ok(restarted)
    }

    /// A pod's need, and what a new pod would get.
    async fn step(&self, pod: &Value) -> Result<(Step, Trial), Stop> {
        let member = self.member(pod);
        let judged = admission::judge(pod, Some(&self.cluster.namespace), &self.cluster.config);
        let trial = self.cluster.trial(pod).await?;
        let need = need(&member, &judged, &trial, self.drift);
        Ok((Step { member, need }, trial))
    }

    /// Fails if a restart would gain nothing, by what is known of the webhook.
    async fn check_injection(&self, pods: &[Value], trial: Trial) -> Result<(), Stop> {
        let namespace = &self.cluster.namespace;
        let mut failing = pods.iter().map(|pod| self.member(pod));
        if let Some((pod, why)) = failing.find_map(|member| Some((member.name, member.failing?))) {
            let problem =
                format!("the sidecar of pod {pod} does not start, so new pods of {namespace} get none: {why}");
            return Err(Stop::Found(audit::finding(Code::FuseBlown, problem, namespace, &pod)));
        }
        let unreachable = |problem: String| {
            let mut finding = Finding::with_names(Code::WebhookUnreachable, problem, &[]);
            finding.fix.push_str(" redis-log-webhook check names the cause.");
            Stop::Found(finding)
        };
        let said = match trial {
            Trial::Injected(_) => return Ok(()),
            Trial::Bare => {
                return Err(unreachable(format!(
                    "a trial pod in {namespace} (a dry run) got no sidecar, so a restart would add none"
                )));
            }
            Trial::Refused(said) => said,
        };
        match self.cluster.ready_replicas().await {
            Ok(0) => Err(unreachable("no pod of the webhook is Ready, so a restart would add no sidecar".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(found(
                Code::MayNotRead,
                format!(
                    "whether the API server reaches the webhook is not known: a trial pod (a dry run) was refused ({said}), and \
                     this account {}",
                    runtime::chain(&error)
                ),
                format!(
                    "grant one of these permissions: create pods in {namespace}, or list endpointslices in {}",
                    self.cluster.config.namespace
                ),
            )),
        }
    }

    /// Waits until every pod of the namespace is there and Ready.
    async fn await_health(&mut self, when: &str) -> Result<(), Stop> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let why = match self.health().await {
                Ok(None) => return Ok(()),
                Ok(Some((what, why))) => format!("{what} is not Ready: {why}"),
                Err(error) if error.is_forbidden() => return Err(error.into()),
                Err(error) => runtime::chain(&error),
            };
            if Instant::now() >= deadline {
                return Err(self.stopped(&format!("{when}, {why}"), None));
            }
            self.progress.waits(format!("  waiting: {why}"));
            self.pause(POLL, when).await?;
        }
    }

    async fn health(&self) -> Result<Option<(String, String)>, Failed> {
        let members: Vec<_> = self.cluster.pods().await?.iter().map(|pod| self.member(pod)).collect();
        Ok(unhealthy(&members, &self.cluster.sets(&members).await?))
    }

    /// Evicts a pod as soon as its budgets allow it.
    async fn evict(&mut self, member: &Member) -> Result<(), Stop> {
        let (deadline, mut delay) = (Instant::now() + self.timeout, FIRST_DELAY);
        loop {
            let refusal = match self.cluster.evict(member).await? {
                Eviction::Accepted | Eviction::Gone => return Ok(()),
                Eviction::Refused(refusal) => refusal,
            };
            if Instant::now() + delay >= deadline {
                return Err(found(
                    Code::EvictionRefused,
                    format!("pod {} was not evicted within {}: {refusal}", member.name, words(self.timeout)),
                    format!(
                        "kubectl get poddisruptionbudget --namespace {}; run the same command again when it allows a disruption",
                        self.cluster.namespace
                    ),
                ));
            }
            self.progress.waits(format!("  waiting: the eviction is refused: {refusal}"));
            self.pause(delay, &format!("before pod {} was evicted", member.name)).await?;
            delay = LONGEST_DELAY.min(delay * 2);
        }
    }

    /// Waits until another pod of this name is Ready, and checks that it has the sidecar.
    async fn await_successor(&mut self, before: &Member) -> Result<(), Stop> {
        let (name, deadline) = (&before.name, Instant::now() + self.timeout);
        loop {
            let why = match self.cluster.pods().await {
                Ok(pods) => {
                    let members = pods.iter().map(|pod| self.member(pod));
                    match members.into_iter().find(|member| member.name == *name) {
                        None => "it is not created again yet".to_owned(),
                        Some(pod) if pod.uid == before.uid => {
                            pod.not_ready.unwrap_or_else(|| "it still runs".to_owned())
                        }
                        Some(pod) => {
                            self.check_sidecar(before, &pod).await?;
                            match pod.not_ready {
                                None => return Ok(()),
                                Some(why) => why,
                            }
                        }
                    }
                }
                Err(error) => runtime::chain(&error),
            };
            if Instant::now() >= deadline {
                let problem = format!("pod {name} is not Ready {} after its eviction: {why}", words(self.timeout));
                return Err(self.stopped(&problem, Some(name)));
            }
            self.progress.waits(format!("  waiting for pod {name}: {why}"));
            self.pause(POLL, &format!("while pod {name} restarts")).await?;
        }
    }

    /// Fails if the new pod has no sidecar, or the same old one.
    async fn check_sidecar(&self, before: &Member, pod: &Member) -> Result<(), Stop> {
        let (namespace, name) = (&self.cluster.namespace, &pod.name);
        if pod.hash.is_some() && pod.hash == before.hash {
            return Err(found(
                Code::Drift,
                format!("pod {name} came back with the same sidecar, so no other pod is restarted"),
                "wait until every replica of the webhook has the new configuration, then run the same command again"
                    .to_owned(),
            ));
        }
        if pod.hash.is_some() {
            return Ok(());
        }
        tokio::time::sleep(EVENT_DELAY).await;
        let said = self.cluster.left_alone(pod).await;
        let code = said.as_deref().and_then(code_in).unwrap_or(Code::PodWithoutSidecar);
        let said = said.unwrap_or_else(|| "the API server did not reach the webhook".to_owned());
        Err(found(
            code,
            format!("pod {name} came back without the sidecar, so no other pod is restarted: {said}"),
            format!("redis-log-webhook check --namespace {namespace} names the cause; then run the same command again"),
        ))
    }

    fn stopped(&self, problem: &str, pod: Option<&str>) -> Stop {
        let namespace = &self.cluster.namespace;
        let look = match pod {
            Some(pod) => format!("kubectl describe pod {pod} --namespace {namespace}"),
            None => format!("kubectl get pods --namespace {namespace}"),
        };
        found(
            Code::RolloutStopped,
            format!("the rollout of {namespace} stopped: {problem}"),
            format!("{look}; run the same command again once every pod is Ready"),
        )
    }

    /// Waits, unless a signal comes.
    async fn pause(&self, delay: Duration, when: &str) -> Result<(), Stop> {
        let over = self.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
        over.ok_or_else(|| Stop::Interrupted(when.to_owned()))
    }

    fn member(&self, pod: &Value) -> Member {
        Member::of(pod, &self.cluster.config)
    }
}

fn found(code: Code, problem: String, fix: String) -> Stop {
    Stop::Found(Finding::new(code, problem, fix))
}

/// The code that a message names.
fn code_in(message: &str) -> Option<Code> {
    message.split(|char: char| !char.is_ascii_alphanumeric()).find_map(Code::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_code_in_the_message_of_an_event() {
        let message = Code::SteppedAside.explained("pod rec-2: stepped aside: the pod is refused");
        assert_eq!(code_in(&message), Some(Code::SteppedAside));
        assert_eq!(code_in("pod rec-2: RLS000"), None);
    }
}
