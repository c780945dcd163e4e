//! Every overlay and every component renders, and a real API server accepts the result without a warning.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::process::Command;

use harness::cluster::Cluster;
use harness::manifests::{all, apply, build, define_custom_resources, object, pod_of, render, render_with, try_pod};
use harness::servers::{Servers, Tools};
use harness::{read_object, repository};
use kube::api::{Patch, PatchParams};
use redis_log_webhook::config::Config;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_takes_every_overlay_and_component_without_a_warning() {
    let Some(servers) = Servers::find("renders_and_applies_manifests").unwrap() else { return };
    let Some(tools) = Tools::find("renders_and_applies_manifests").unwrap() else { return };
    let cluster = Cluster::start(&servers).await.unwrap();
    let rendered = all(&tools.kustomize).unwrap();
    let objects: Vec<_> = rendered.iter().flat_map(|(_, objects)| objects).cloned().collect();
    define_custom_resources(&cluster, &tools, &objects).await.unwrap();
    // Every OpenShift has it.
    cluster.create_namespace("openshift-config-managed", &json!({}), &[]).await.unwrap();
    for (name, objects) in &rendered {
        let warnings = apply(&cluster, objects).await;
        assert_eq!(warnings.unwrap_or_else(|error| vec![format!("{error:#}")]), [""; 0], "{name}");
        // The namespace enforces Pod Security `restricted` and warns about it.
        let deployment = object(objects, "Deployment", "redis-log-webhook").unwrap();
        let warnings = try_pod(&cluster, &pod_of(deployment).unwrap()).await;
        assert_eq!(warnings.unwrap_or_else(|error| vec![format!("{error:#}")]), [""; 0], "the pod of {name}");
    }
    assert_enforces_pod_security(&cluster, &rendered[0].1).await;
    assert_keeps_ca_bundle(&cluster, &rendered[0].1).await;
}

/// The API server refuses the pod if any one of these settings is missing.
async fn assert_enforces_pod_security(cluster: &Cluster, objects: &[Value]) {
    let pod = pod_of(object(objects, "Deployment", "redis-log-webhook").unwrap()).unwrap();
    for (of, setting) in [
        ("/spec/securityContext", "runAsNonRoot"),
        ("/spec/securityContext", "seccompProfile"),
        ("/spec/containers/0/securityContext", "allowPrivilegeEscalation"),
        ("/spec/containers/0/securityContext", "capabilities"),
    ] {
        let mut without = pod.clone();
        without.pointer_mut(of).unwrap().as_object_mut().unwrap().remove(setting).unwrap();
        let refusal = try_pod(cluster, &without).await.unwrap_err().to_string();
        assert!(refusal.contains("violates PodSecurity") && refusal.contains("restricted:"), "{setting}: {refusal}");
    }
}

/// The issuer of the certificate sets the caBundle, and an upgrade must not remove it.
async fn assert_keeps_ca_bundle(cluster: &Cluster, objects: &[Value]) {
    let configuration = object(objects, "MutatingWebhookConfiguration", "redis-log-shipper").unwrap();
    let ca = certs::Authority::new("test", std::time::Duration::from_hours(1)).unwrap();
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca.cert());
    let (api, name) = cluster.api_of(configuration).unwrap();
    let mut webhooks = json!(api.get(&name).await.unwrap().data["webhooks"]);
    webhooks[0]["clientConfig"]["caBundle"] = json!(bundle);
    let patch = Patch::Merge(json!({"webhooks": webhooks}));
    api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    apply(cluster, objects).await.unwrap();
    assert_eq!(api.get(&name).await.unwrap().data["webhooks"][0]["clientConfig"]["caBundle"], json!(bundle));
}

#[test]
fn prometheus_takes_every_rule() {
    let Some(tools) = Tools::find("prometheus_takes_every_rule").unwrap() else { return };
    let objects = render_with(&tools.kustomize, &["self-signed", "monitoring"]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yaml");
    for name in ["redis-log-webhook", "redis-log-shipper"] {
        let rule = object(&objects, "PrometheusRule", name).unwrap();
        // JSON is YAML.
        std::fs::write(&file, rule["spec"].to_string()).unwrap();
        let output = Command::new(&tools.monitoring).arg("rules").arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// For a Prometheus that reads only the namespace of its objects, as on OpenShift.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_what_watches_its_sidecars() {
    let Some(servers) = Servers::find("a_namespace_takes_what_watches_its_sidecars").unwrap() else { return };
    let Some(tools) = Tools::find("a_namespace_takes_what_watches_its_sidecars").unwrap() else { return };
    let mut objects = render(&tools.kustomize, "sidecars").unwrap();
    for object in &mut objects {
        assert_eq!(object["metadata"]["namespace"], Value::Null, "whoever applies it says where");
        object["metadata"]["namespace"] = json!("redis");
    }
    let monitor = object(&objects, "PodMonitor", "redis-log-shipper").unwrap();
    assert_eq!(monitor["spec"]["namespaceSelector"], Value::Null);
    let cluster = Cluster::start(&servers).await.unwrap();
    cluster.create_namespace("redis", &json!({}), &[]).await.unwrap();
    define_custom_resources(&cluster, &tools, &objects).await.unwrap();
    assert_eq!(apply(&cluster, &objects).await.unwrap(), [""; 0]);
}

#[test]
fn the_webhook_takes_every_configuration_and_both_programs_are_of_one_image_of_this_version() {
    let Some(tools) = Tools::find("the_webhook_takes_every_configuration").unwrap() else { return };
    for (name, objects) in all(&tools.kustomize).unwrap() {
        let map = object(&objects, "ConfigMap", "redis-log-webhook").unwrap();
        let text = map["data"]["config.yaml"].as_str().unwrap();
        let config = Config::parse("config.yaml".as_ref(), text).unwrap();
        let image = concat!("ghcr.io/redis-log-shipper/redis-log-shipper:", env!("CARGO_PKG_VERSION"));
        assert_eq!(config.image, image, "{name}");
        let deployment = object(&objects, "Deployment", "redis-log-webhook").unwrap();
        let containers = &deployment["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["image"], image, "{name}");
        assert_eq!(containers[0]["command"], json!(["/redis-log-webhook"]), "{name}");
    }
}

/// The documentation's example of a user's own overlay.
#[test]
fn the_overlay_of_the_documentation_renders() {
    let Some(tools) = Tools::find("the_overlay_of_the_documentation_renders").unwrap() else { return };
    let page = std::fs::read_to_string(repository().join("docs/install.md")).unwrap();
    let (_, block) = page.split_once("```yaml\n# kustomization.yaml").unwrap();
    let (text, _) = block.split_once("```").unwrap();
    let dir = tempfile::tempdir_in(repository().join("target")).unwrap();
    let text = format!("#{}", text.replace("../manifests", "../../manifests"));
    std::fs::write(dir.path().join("kustomization.yaml"), text).unwrap();
    let image = "registry.example.com/redis-log-shipper:0.1.0";
    std::fs::write(dir.path().join("config.yaml"), format!("image: {image}\n")).unwrap();
    let objects = build(&tools.kustomize, dir.path()).unwrap();
    let config = object(&objects, "ConfigMap", "redis-log-webhook").unwrap()["data"]["config.yaml"].as_str().unwrap();
    assert_eq!(Config::parse("config.yaml".as_ref(), config).unwrap().image, image);
    let deployment = object(&objects, "Deployment", "redis-log-webhook").unwrap();
    let used = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    assert_eq!(used, image);
}

#[test]
fn the_example_for_argocd_names_what_is_there() {
    let application = read_object(&repository().join("manifests/argocd/application.yaml")).unwrap();
    let path = application["spec"]["source"]["path"].as_str().unwrap();
    assert!(repository().join(path).join("kustomization.yaml").is_file(), "{path}");
    assert_eq!(application["spec"]["source"]["targetRevision"], format!("v{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_pods_fit_openshifts_restricted_v2() {
    let Some(tools) = Tools::find("the_pods_fit_openshifts_restricted_v2").unwrap() else { return };
    for (name, objects) in all(&tools.kustomize).unwrap() {
        let spec = &object(&objects, "Deployment", "redis-log-webhook").unwrap()["spec"]["template"]["spec"];
        // It assigns user, group and SELinux level, and refuses a pod that names another.
        for field in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups", "seLinuxOptions"] {
            assert_eq!(spec["securityContext"][field], Value::Null, "{name}: {field}");
            assert_eq!(spec["containers"][0]["securityContext"][field], Value::Null, "{name}: {field}");
        }
        for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert_eq!(spec[field], Value::Null, "{name}: {field}");
        }
        for volume in spec["volumes"].as_array().unwrap() {
            assert!(volume["configMap"].is_object() || volume["secret"].is_object(), "{name}: {volume}");
        }
    }
}
