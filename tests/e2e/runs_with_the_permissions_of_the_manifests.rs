//! The webhook runs as the ServiceAccount of the manifests. It has every permission that it uses, and uses every permission that
//! it has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::collections::BTreeSet;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::installation::{Installation, NAMESPACE};
use harness::manifests::{define_custom_resources, render, render_with};
use harness::owners::owned;
use harness::pod_fixture;
use harness::process::eventually;
use harness::servers::{Servers, Tools};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "redis-log-webhook";
const BINDING: &str = "redis-log-shipper-managed-writers";
const LOKI: &str = "https://loki.example/api/logs/v1/{tenant}/loki/api/v1/push";

/// A permission or a request: a verb on a kind of object, with a name and a namespace if they matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deed {
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
    namespace: Option<String>,
}

impl Deed {
    fn covers(&self, done: &Self) -> bool {
        let fits = |allowed: &Option<String>, done: &Option<String>| allowed.is_none() || allowed == done;
        (&self.verb, &self.group, &self.resource) == (&done.verb, &done.group, &done.resource)
            && fits(&self.name, &done.name)
            && fits(&self.namespace, &done.namespace)
    }
}

/// The permissions that the rendered roles give the account.
fn allowed(objects: &[Value]) -> Vec<Deed> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let is_binding = |object: &&Value| object["kind"].as_str().unwrap().ends_with("RoleBinding");
    // By its own name, or as a member of a group.
    let names = [ACCOUNT, "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:redis-log-shipper"];
    let ours = |binding: &&Value| {
        let mut subjects = binding["subjects"].as_array().unwrap().iter();
        subjects.any(|subject| names.iter().any(|name| subject["name"] == *name))
    };
    let mut allowed = Vec::new();
    for binding in objects.iter().filter(is_binding).filter(ours) {
        let role = objects.iter().find(|role| {
            role["kind"] == binding["roleRef"]["kind"] && role["metadata"]["name"] == binding["roleRef"]["name"]
        });
        let namespace = binding["metadata"]["namespace"].as_str().map(str::to_owned);
        for rule in role.unwrap()["rules"].as_array().unwrap() {
            let names = texts(&rule["resourceNames"]);
            let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for verb in texts(&rule["verbs"]) {
                // URLs without an object, such as /metrics.
                for resource in texts(&rule["nonResourceURLs"]) {
                    let (verb, group) = (verb.clone(), String::new());
                    allowed.push(Deed { verb, group, resource, name: None, namespace: None });
                }
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for name in names.clone() {
                            let (verb, group, namespace) = (verb.clone(), group.clone(), namespace.clone());
                            allowed.push(Deed { verb, group, resource: resource.clone(), name, namespace });
                        }
                    }
                }
            }
        }
    }
    allowed
}

/// The account's requests, and the refused ones.
fn done(cluster: &Cluster) -> (BTreeSet<Deed>, Vec<Value>) {
    let (mut done, mut refused) = (BTreeSet::new(), Vec::new());
    for event in cluster.audit().unwrap() {
        if event["user"]["username"] != format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}") {
            continue;
        }
        if event["responseStatus"]["code"] == 403 {
            refused.push(event);
            continue;
        }
        let text = |at: &str| event["objectRef"][at].as_str().map(str::to_owned);
        // A request without an object, such as the version, which everybody may read.
        let Some(resource) = text("resource") else { continue };
        let verb = event["verb"].as_str().unwrap().to_owned();
        let group = text("apiGroup").unwrap_or_default();
        done.insert(Deed { verb, group, resource, name: text("name"), namespace: text("namespace") });
    }
    // To grant a role without having its permissions takes `bind`. The API server checks it within the same request.
    if done.iter().any(|deed| deed.resource == "clusterrolebindings" && deed.verb == "create") {
        done.insert(Deed {
            verb: "bind".to_owned(),
            group: "rbac.authorization.k8s.io".to_owned(),
            resource: "clusterroles".to_owned(),
            name: Some("redis-log-shipper-writer".to_owned()),
            namespace: None,
        });
    }
    (done, refused)
}

/// Waits until every permission of `objects` was used. Fails with the unused permissions and the refused requests.
async fn assert_all_is_used(cluster: &Cluster, objects: &[Value]) {
    let unused = || {
        let (done, _) = done(cluster);
        allowed(objects).into_iter().filter(|deed| !done.iter().any(|done| deed.covers(done))).collect::<Vec<_>>()
    };
    let all =
        eventually("everything that is allowed is done", PATIENCE, || async { Ok(unused().is_empty().then_some(())) });
    if all.await.is_err() {
        assert_eq!(unused(), [], "the manifests allow what the webhook does not do");
    }
    let (done, refused) = done(cluster);
    let wider: Vec<_> = allowed(objects).into_iter().filter(|deed| is_wider_than_used(deed, &done)).collect();
    assert_eq!(wider, [], "the manifests allow it for more objects than the webhook touches");
    assert_eq!(refused, [Value::Null; 0], "the manifests do not allow what the webhook does");
}

/// Whether a permission could name its object or its namespace, and does not. A permission to create cannot name one.
fn is_wider_than_used(allowed: &Deed, done: &BTreeSet<Deed>) -> bool {
    let done: Vec<_> = done.iter().filter(|done| allowed.covers(done)).collect();
    let is_one =
        |of: fn(&Deed) -> &Option<String>| of(done[0]).is_some() && done.iter().all(|deed| of(deed) == of(done[0]));
    let nameless = allowed.name.is_none() && allowed.verb != "create" && is_one(|deed| &deed.name);
    let everywhere = allowed.namespace.is_none() && done[0].namespace.as_deref() == Some(NAMESPACE);
    nameless || (everywhere && is_one(|deed| &deed.namespace))
}

async fn inject(cluster: &Cluster) {
    let labels = json!({"redis-log-shipper.io/inject": "enabled"});
    cluster.create_namespace("redis", &labels, &["rec"]).await.unwrap();
    let mut pod = pod_fixture("a-vanilla").unwrap();
    for kind in ["StatefulSet", "ReplicaSet", "Job"] {
        for name in ["rec", "other"] {
            pod["metadata"]["name"] = json!(format!("{name}-{}", kind.to_lowercase()));
            let pod = owned(cluster, "redis", (kind, name), &pod).await.unwrap();
            let pod = cluster.create_pod("redis", &pod, false).await.unwrap();
            assert_eq!(pod["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected");
        }
    }
    eventually("every owner is told", PATIENCE, || async {
        let events = cluster.events("redis").await?;
        Ok((events.iter().filter(|(reason, _)| reason == "LogShipperInjected").count() == 6).then_some(()))
    })
    .await
    .unwrap();
}

/// A quota refuses a pod with the sidecar. The webhook then lists the pod, and the Event with the refusal.
async fn refuse(cluster: &Cluster) {
    let labels = json!({"redis-log-shipper.io/inject": "enabled"});
    cluster.create_namespace("full", &labels, &["rec"]).await.unwrap();
    let metadata = json!({"name": "small", "namespace": "full"});
    let hard = json!({"pods": "0"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}});
    cluster.apply(&quota).await.unwrap();
    // As the quota's controller does. A quota without a status has no effect.
    let status = Patch::Merge(json!({"status": {"hard": hard, "used": {"pods": "0"}}}));
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), "full");
    quotas.patch_status("small", &PatchParams::default(), &status).await.unwrap();
    let pod = owned(cluster, "full", ("StatefulSet", "rec"), &pod_fixture("a-vanilla").unwrap()).await.unwrap();
    // The API server notices a quota after a moment.
    eventually("the quota holds", PATIENCE, || async {
        Ok(cluster.create_pod("full", &pod, true).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    eventually("the webhook has looked for the pod", PATIENCE, || async {
        let refused = cluster.create_pod("full", &pod, false).await;
        assert!(refused.is_err(), "{refused:#?}");
        let events = cluster.events("full").await?;
        Ok(events.iter().any(|(reason, _)| reason == "LogShipperSteppedAside").then_some(()))
    })
    .await
    .unwrap();
}

/// Somebody removes the namespaces from the binding, then the binding. The webhook undoes both.
async fn disturb_binding(cluster: &Cluster) {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let is_kept = || async {
        let binding = bindings.get_opt(BINDING).await?;
        let subjects = binding.and_then(|binding| binding.subjects).unwrap_or_default();
        Ok(subjects.iter().any(|subject| subject.name == "system:serviceaccounts:redis").then_some(()))
    };
    eventually("the namespace may push", PATIENCE, is_kept).await.unwrap();
    bindings.patch(BINDING, &PatchParams::default(), &Patch::Merge(json!({"subjects": []}))).await.unwrap();
    eventually("the namespace may push again", PATIENCE, is_kept).await.unwrap();
    bindings.delete(BINDING, &DeleteParams::default()).await.unwrap();
    eventually("the namespace may push once more", PATIENCE, is_kept).await.unwrap();
}

/// Somebody damages the Secret. The webhook issues a new certificate, and the API server trusts it.
async fn disturb_certificate(cluster: &Cluster) {
    let damaged = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis-log-webhook-tls", "namespace": NAMESPACE},
        "stringData": {"tls.key": "not a key"},
    });
    let before = cluster.secret(NAMESPACE, "redis-log-webhook-tls").await.unwrap().unwrap();
    cluster.apply(&damaged).await.unwrap();
    eventually("the certificate is issued anew", PATIENCE, || async {
        let now = cluster.secret(NAMESPACE, "redis-log-webhook-tls").await?.unwrap();
        let text =
            |secret: &k8s_openapi::api::core::v1::Secret, key: &str| secret.data.as_ref().unwrap()[key].0.clone();
        Ok((text(&now, "tls.crt") != text(&before, "tls.crt")).then_some(()))
    })
    .await
    .unwrap();
    eventually("pods are injected again", PATIENCE, || async {
        let pod = cluster.create_pod("canary", &pod_fixture("a-vanilla")?, true).await?;
        Ok((pod["metadata"]["annotations"]["redis-log-shipper.io/status"] == "injected").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_of_its_own_it_needs_every_permission_it_has_and_no_other() {
    let Some(servers) = Servers::find("runs_with_the_permissions_of_the_manifests").unwrap() else { return };
    let cluster = Cluster::start_audited(&servers).await.unwrap();
    let components = ["self-signed", "managed-rbac", "ask-permissions", "audit", "step-aside", "matchconditions"];
    let objects = render_with(&servers.kustomize, &components).unwrap();
    let _installation = Installation::of(&cluster, objects.clone(), LOKI).await.unwrap();
    inject(&cluster).await;
    refuse(&cluster).await;
    disturb_binding(&cluster).await;
    disturb_certificate(&cluster).await;
    assert_all_is_used(&cluster, &objects).await;
    assert_match_conditions_hold(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_openshift_it_needs_every_permission_it_has_and_no_other() {
    let Some(servers) = Servers::find("runs_with_the_permissions_of_the_manifests").unwrap() else { return };
    let Some(tools) = Tools::find("runs_with_the_permissions_of_the_manifests").unwrap() else { return };
    let cluster = Cluster::start_audited(&servers).await.unwrap();
    let objects = render(&servers.kustomize, "overlays/openshift").unwrap();
    define_custom_resources(&cluster, &tools, &objects).await.unwrap();
    let _installation = Installation::of(&cluster, objects.clone(), LOKI).await.unwrap();
    inject(&cluster).await;
    refuse(&cluster).await;
    disturb_binding(&cluster).await;
    assert_all_is_used(&cluster, &objects).await;
}

/// With matchConditions the same pods are injected. The API server does not send the others to the webhook.
async fn assert_match_conditions_hold(cluster: &Cluster) {
    let mut opted_out = pod_fixture("a-vanilla").unwrap();
    opted_out["metadata"]["annotations"]["redis-log-shipper.io/inject"] = json!("false");
    opted_out["metadata"]["name"] = json!("opted-out");
    let pod = cluster.create_pod("redis", &opted_out, true).await.unwrap();
    assert_eq!(pod["metadata"]["annotations"]["redis-log-shipper.io/status"], Value::Null);
    let mut annotated = pod_fixture("a-vanilla").unwrap();
    annotated["metadata"]["name"] = json!("annotated");
    annotated["metadata"]["annotations"] = json!({"redis-log-shipper.io/inject": "true"});
    let mut bare = annotated.clone();
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    for pod in [annotated, bare] {
        let pod = cluster.create_pod("redis", &pod, true).await.unwrap();
        assert_eq!(pod["metadata"]["annotations"]["redis-log-shipper.io/status"], "injected");
    }
}
