//! The namespaces: which there are, and their labels.

use std::collections::BTreeMap;

use findings::{Outcome, Report};
use kube::api::ListParams;
use serde_json::Value;

use super::reader::{Reader, Unread, What};
use super::scope::Scope;
use crate::admission::pod::name;
use crate::audit::namespace;

/// The namespaces in scope, by name, or why one was not read.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Each namespace.
    pub(crate) read: BTreeMap<String, Result<Value, Unread>>,
    /// Why there is no list of all namespaces.
    pub(crate) unlisted: Option<Unread>,
}

impl Namespaces {
    /// A namespace that was read.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.read.get(name)?.as_ref().ok()
    }
}

/// Reads the namespaces in `scope`.
pub(crate) async fn read(reader: &Reader, scope: &Scope) -> Namespaces {
    let mut namespaces = Namespaces::default();
    if scope.namespaces.is_empty() {
        match reader.list("/api/v1/namespaces", ListParams::default()).await {
            Ok(all) => {
                let named =
                    all.into_iter().filter_map(|it| Some((it.get("metadata").and_then(name)?.to_owned(), Ok(it))));
                namespaces.read.extend(named);
            }
            Err(unread) => namespaces.unlisted = Some(unread),
        }
    }
    for namespace in &scope.namespaces {
        let read = reader.get(&format!("/api/v1/namespaces/{namespace}")).await;
        namespaces.read.insert(namespace.clone(), read);
    }
    namespaces
}

/// Checks the labels of the namespaces that have Redis Enterprise pods, and of those that opted in.
pub(crate) fn check(namespaces: &Namespaces, pods: &BTreeMap<String, usize>, scope: &Scope, report: &mut Report) {
    report.group("namespaces");
    if let Some(unread) = &namespaces.unlisted {
        report.add("all namespaces (or name some with --namespace)", unread.outcome(&What::list("namespaces")));
    }
    let mut labelled = 0;
    for (name, read) in &namespaces.read {
        let check = format!("namespace {name} is labelled");
        let pods = pods.get(name).copied().unwrap_or(0);
        match read {
            Err(unread) => report.add(check, unread.outcome(&What::get(format!("namespace {name}")))),
            Ok(namespace) => {
                let opted_in = namespace::inject_label(namespace).is_some();
                labelled += usize::from(opted_in);
                if opted_in || pods > 0 || scope.namespaces.contains(name) {
                    report.add(check, namespace::label(namespace, pods, &scope.installation));
                }
            }
        }
    }
    if labelled == 0 && namespaces.unlisted.is_none() && scope.namespaces.is_empty() {
        report.add("a namespace is labelled", Outcome::Found(namespace::none_labelled()));
    }
}
