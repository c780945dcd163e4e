//! Renders the manifests with kustomize and applies them by the API server's rules.
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null, and these are maps")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::process::eventually;
use crate::servers::Tools;
use crate::{read_object, repository};

const PATIENCE: Duration = Duration::from_secs(30);
/// The components that issue the serving certificate. An installation has exactly one of them.
const ISSUERS: [&str; 3] = ["self-signed", "cert-manager", "openshift-service-ca"];

/// Everything that can be rendered, by a name: the overlays, each issuer, each other component, and all others together.
pub fn all(kustomize: &Path) -> anyhow::Result<Vec<(String, Vec<Value>)>> {
    let mut rendered = Vec::new();
    for overlay in folders("overlays", "Kustomization")? {
        rendered.push((format!("overlays/{overlay}"), render(kustomize, &format!("overlays/{overlay}"))?));
    }
    for components in combinations()? {
        let components: Vec<_> = components.iter().map(String::as_str).collect();
        rendered.push((components.join(", "), render_with(kustomize, &components)?));
    }
    Ok(rendered)
}

fn combinations() -> anyhow::Result<Vec<Vec<String>>> {
    let (issuers, others): (Vec<_>, Vec<_>) =
        folders("components", "Component")?.into_iter().partition(|name| ISSUERS.contains(&name.as_str()));
    ensure!(issuers.len() == ISSUERS.len(), "of {ISSUERS:?} only {issuers:?} exist");
    let alone = others.iter().map(|other| vec!["self-signed".to_owned(), other.clone()]);
    let mut combinations: Vec<_> = alone.collect();
    combinations.push(std::iter::once("cert-manager".to_owned()).chain(others).collect());
    combinations.extend(issuers.into_iter().map(|issuer| vec![issuer]));
    Ok(combinations)
}

/// The folders below `manifests/PARENT` with a kustomization of this kind, such as `dashboards/openshift`.
fn folders(parent: &str, kind: &str) -> anyhow::Result<Vec<String>> {
    let top = repository().join("manifests").join(parent);
    let (mut found, mut left) = (Vec::new(), vec![top.clone()]);
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.ends_with("kustomization.yaml") && read_object(&path)?["kind"] == kind {
                found.push(folder.strip_prefix(&top)?.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Renders an overlay, such as `overlays/plain`.
pub fn render(kustomize: &Path, folder: &str) -> anyhow::Result<Vec<Value>> {
    build(kustomize, &repository().join("manifests").join(folder))
}

/// Renders the base with some components, such as `self-signed`, as somebody's own overlay would.
pub fn render_with(kustomize: &Path, components: &[&str]) -> anyhow::Result<Vec<Value>> {
    let target = repository().join("target");
    std::fs::create_dir_all(&target)?;
    // kustomize requires relative directories.
    let dir = tempfile::tempdir_in(target)?;
    let components: Vec<_> = components.iter().map(|name| format!("../../manifests/components/{name}")).collect();
    let text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../manifests/base"],
        "components": components,
    });
    std::fs::write(dir.path().join("kustomization.yaml"), text.to_string())?;
    build(kustomize, dir.path())
}

/// Renders a directory with a kustomization.
pub fn build(kustomize: &Path, folder: &Path) -> anyhow::Result<Vec<Value>> {
    let output = Command::new(kustomize).arg("build").arg(folder).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && complaint.is_empty(), "kustomize on {}: {complaint}", folder.display());
    Ok(serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?)
}

/// The object of this kind and name.
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> anyhow::Result<&'a Value> {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.with_context(|| format!("no {kind} {name} was rendered"))
}

/// Applies objects in their order and returns the API server's warnings. Unknown or duplicate fields are errors.
pub async fn apply(cluster: &Cluster, objects: &[Value]) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for object in objects {
        let (api, name) = cluster.api_of(object)?;
        let url = format!("{}/{name}?fieldManager=e2e&force=true&fieldValidation=Strict", api.resource_url());
        let request = hyper::Request::patch(url).header("content-type", "application/apply-patch+yaml");
        let told = send(cluster, request.body(serde_json::to_vec(object)?)?).await;
        warnings.extend(told.with_context(|| format!("failed to apply {} {name}", object["kind"]))?);
    }
    Ok(warnings)
}

/// The pod that a Deployment creates.
pub fn pod_of(deployment: &Value) -> anyhow::Result<Value> {
    let mut pod = deployment.pointer("/spec/template").context("no pod template")?.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("as-the-deployment-makes-it");
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    Ok(pod)
}

/// Creates a pod with a dry run and returns the API server's warnings.
pub async fn try_pod(cluster: &Cluster, pod: &Value) -> anyhow::Result<Vec<String>> {
    let (api, _) = cluster.api_of(pod)?;
    let url = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
    let request = hyper::Request::post(url).header("content-type", "application/json");
    send(cluster, request.body(serde_json::to_vec(pod)?)?).await
}

/// Sends a request and returns the warnings of its answer, which kube's own calls hide.
async fn send(cluster: &Cluster, request: hyper::Request<Vec<u8>>) -> anyhow::Result<Vec<String>> {
    let answer = cluster.client.send(request.map(kube::client::Body::from)).await?;
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    let status = answer.status();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(warnings)
}

/// Defines the custom resources among `objects` and waits until the API server serves them.
pub async fn define_custom_resources(cluster: &Cluster, tools: &Tools, objects: &[Value]) -> anyhow::Result<()> {
    for folder in &tools.crds {
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            for definition in serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(&path)?)? {
                let kind = &definition["spec"]["names"]["kind"];
                if objects.iter().any(|object| object["kind"] == *kind) {
                    apply(cluster, std::slice::from_ref(&definition)).await?;
                    established(cluster, &definition).await?;
                }
            }
        }
    }
    Ok(())
}

async fn established(cluster: &Cluster, definition: &Value) -> anyhow::Result<()> {
    let (api, name) = cluster.api_of(definition)?;
    let api: Api<DynamicObject> = api;
    eventually(&format!("{name} is established"), PATIENCE, || async {
        let conditions = api.get(&name).await?.data["status"]["conditions"].clone();
        let is_served = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
        Ok(conditions.as_array().is_some_and(|list| list.iter().any(is_served)).then_some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_component_alone_and_all_together() {
        let combinations = combinations().unwrap();
        let together = combinations.iter().max_by_key(|components| components.len()).unwrap();
        for name in together {
            assert!(combinations.iter().any(|some| some.len() < 3 && some.contains(name)), "{name} is not alone");
        }
        assert!(together.len() > 7 && together.contains(&"dashboards/openshift".to_owned()), "{together:?}");
    }
}
