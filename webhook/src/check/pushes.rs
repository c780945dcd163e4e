//! The way to Loki: who may push, and what the running sidecars say about their last push.

use std::collections::BTreeSet;

use findings::{Outcome, Report};
use futures::StreamExt as _;
use futures::stream;
use runtime::chain;

use super::installation::Installed;
use super::reader::{CONCURRENCY, Reader, Unread, What};
use crate::admission::pod::ADMIN_PORT;
use crate::admission::pusher::Pusher;
use crate::audit::sidecar;
use crate::cluster::access;

/// Asks for each account whether it may push to its tenant.
pub(crate) async fn permissions(
    reader: &Reader,
    pushers: &BTreeSet<Pusher>,
    installed: &Installed,
    report: &mut Report,
) {
    report.group("permissions");
    if pushers.is_empty() {
        let reason = match installed.config.gateway_tenant() {
            _ if !installed.knows_config => "the configuration of the webhook is not known",
            None => "the URL of the configuration is no gateway that asks for a permission",
            Some(_) => "there are no pods that push",
        };
        report.add("ServiceAccounts may push", Outcome::Skipped(reason.to_owned()));
        return;
    }
    let asked = stream::iter(pushers).map(|pusher| async move { (pusher, access::ask(reader.client(), pusher).await) });
    let answers: Vec<_> = asked.buffered(CONCURRENCY).collect().await;
    let mut forbidden = false;
    for (Pusher { namespace, account, tenant }, answer) in answers {
        let check = format!("ServiceAccount {namespace}/{account} may push to the tenant {tenant}");
        let outcome = match answer {
            Ok(None) => Outcome::Passed(String::new()),
            Ok(Some(finding)) => Outcome::Found(finding),
            // The same for every account.
            Err(error) if error.is_forbidden() && std::mem::replace(&mut forbidden, true) => continue,
            Err(error) if error.is_forbidden() => {
                Unread::Forbidden(chain(&error)).outcome(&What::create("subjectaccessreviews"))
            }
            Err(error) => Outcome::Skipped(chain(&error)),
        };
        report.add(check, outcome);
    }
}

/// Reads `/status` of each running sidecar, through the API server.
pub(crate) async fn last_pushes(reader: &Reader, sidecars: &[(String, String)], report: &mut Report) {
    report.group("last push");
    if sidecars.is_empty() {
        report.add("sidecars", Outcome::Skipped("none runs".to_owned()));
        return;
    }
    let read = stream::iter(sidecars).map(|(namespace, pod)| async move {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN_PORT}/proxy/status");
        (namespace, pod, reader.get(&path).await)
    });
    let read: Vec<_> = read.buffered(CONCURRENCY).collect().await;
    let mut forbidden = BTreeSet::new();
    for (namespace, pod, status) in read {
        let check = format!("pod {namespace}/{pod} pushes");
        match status {
            Ok(status) => {
                for outcome in sidecar::outcomes(&status, namespace, pod) {
                    report.add(check.clone(), outcome);
                }
            }
            // The same for every pod of the namespace.
            Err(Unread::Forbidden(_)) if !forbidden.insert(namespace) => {}
            Err(unread) => report.add(check, unread.outcome(&What::get(format!("pods/proxy in {namespace}")))),
        }
    }
}
