//! The rendered manifests are consistent: names, selectors, ports, order.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::collections::BTreeMap;

use harness::manifests::{all, object};
use harness::servers::Tools;
use redis_log_webhook::config::Config;
use serde_json::{Value, json};

fn rendered(test: &str) -> Option<Vec<(String, Vec<Value>)>> {
    let tools = Tools::find(test).unwrap()?;
    Some(all(&tools.kustomize).unwrap())
}

fn kinds<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn deployment(objects: &[Value]) -> &Value {
    object(objects, "Deployment", "redis-log-webhook").unwrap()
}

fn webhook(objects: &[Value]) -> &Value {
    &object(objects, "MutatingWebhookConfiguration", "redis-log-shipper").unwrap()["webhooks"][0]
}

/// Whether labels match a selector that is not empty.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.get("matchLabels").unwrap_or(selector).as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn argocd_gets_every_object_after_what_it_needs() {
    let Some(rendered) = rendered("argocd_gets_every_object_after_what_it_needs") else { return };
    for (name, objects) in &rendered {
        for object in objects {
            let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str();
            let expected = match object["kind"].as_str().unwrap() {
                "Namespace" | "PriorityClass" => "-3",
                "ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" | "Service"
                | "NetworkPolicy" | "Lease" => "-2",
                "ConfigMap" | "Issuer" | "Certificate" => "-1",
                "Deployment" | "PodDisruptionBudget" | "ServiceMonitor" | "PodMonitor" | "PrometheusRule" => "0",
                // Last, so that the API server does not call a webhook that does not run yet.
                "MutatingWebhookConfiguration" => "1",
                kind => panic!("{name}: in which wave is {kind}?"),
            };
            assert_eq!(wave, Some(expected), "{name}: {} {}", object["kind"], object["metadata"]["name"]);
        }
    }
}

#[test]
fn no_manifest_sets_a_ca_bundle() {
    let Some(rendered) = rendered("no_manifest_sets_a_ca_bundle") else { return };
    for (name, objects) in &rendered {
        for configuration in kinds(objects, "MutatingWebhookConfiguration") {
            for webhook in configuration["webhooks"].as_array().unwrap() {
                // Not even an empty one: an upgrade would replace the issued bundle by it.
                let client = webhook["clientConfig"].as_object().unwrap();
                assert_eq!(client.keys().collect::<Vec<_>>(), ["service"], "{name}");
            }
        }
    }
}

#[test]
fn the_example_for_argocd_ignores_the_ca_bundle_of_the_object_that_is_rendered() {
    let Some(rendered) = rendered("the_example_for_argocd_ignores_the_ca_bundle") else { return };
    let path = harness::repository().join("manifests/argocd/application.yaml");
    let spec = harness::read_object(&path).unwrap()["spec"].clone();
    let ignored = spec["ignoreDifferences"].as_array().unwrap();
    assert_eq!(ignored.len(), 1);
    assert_eq!(ignored[0]["jqPathExpressions"], json!([".webhooks[]?.clientConfig.caBundle"]));
    for (name, objects) in &rendered {
        let configuration = object(objects, "MutatingWebhookConfiguration", ignored[0]["name"].as_str().unwrap());
        let configuration = configuration.unwrap();
        assert_eq!(ignored[0]["kind"], configuration["kind"], "{name}");
        let group = configuration["apiVersion"].as_str().unwrap().split('/').next();
        assert_eq!(ignored[0]["group"].as_str(), group, "{name}");
        let namespace = object(objects, "Namespace", spec["destination"]["namespace"].as_str().unwrap());
        assert!(namespace.is_ok(), "{name}");
    }
    // Without it a sync removes the caBundle, although the difference is ignored.
    let options = spec["syncPolicy"]["syncOptions"].as_array().unwrap();
    assert!(options.contains(&json!("RespectIgnoreDifferences=true")), "{options:?}");
}

#[test]
fn a_rollout_and_the_drain_of_a_node_leave_a_replica_that_answers() {
    let Some(rendered) = rendered("a_rollout_and_the_drain_of_a_node") else { return };
    for (name, objects) in &rendered {
        let spec = &deployment(objects)["spec"];
        let rolling = &spec["strategy"]["rollingUpdate"];
        assert!(spec["replicas"].as_u64().unwrap() >= 2, "{name}");
        assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&json!(0), &json!(1)), "{name}");
        let pod = &spec["template"];
        let budget = &object(objects, "PodDisruptionBudget", "redis-log-webhook").unwrap()["spec"];
        assert!(selects(&budget["selector"], &pod["metadata"]["labels"]), "{name}");
        // One of two replicas may be evicted. With none, a node could not be drained.
        assert_eq!((&budget["maxUnavailable"], &budget["minAvailable"]), (&json!(1), &Value::Null), "{name}");
        let spread = pod["spec"]["topologySpreadConstraints"].as_array().unwrap();
        let keys: Vec<_> = spread.iter().map(|constraint| constraint["topologyKey"].as_str().unwrap()).collect();
        assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"], "{name}");
        for constraint in spread {
            assert!(selects(&constraint["labelSelector"], &pod["metadata"]["labels"]), "{name}");
            // A cluster of one node gets both replicas as well.
            assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway", "{name}");
        }
        // The webhook serves for twelve seconds after SIGTERM, then has fifteen to finish open requests.
        assert!(pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() > 12 + 15, "{name}");
    }
}

#[test]
fn what_names_or_selects_another_object_finds_it() {
    let Some(rendered) = rendered("what_names_or_selects_another_object_finds_it") else { return };
    for (name, objects) in &rendered {
        let pod = &deployment(objects)["spec"]["template"];
        let (labels, spec) = (&pod["metadata"]["labels"], &pod["spec"]);
        let ports = spec["containers"][0]["ports"].as_array().unwrap();
        let has_port = |port: &Value| ports.iter().any(|has| has["name"] == *port);
        let named = |kind: &str, of: &Value| object(objects, kind, of.as_str().unwrap()).unwrap().clone();
        named("ServiceAccount", &spec["serviceAccountName"]);
        named("PriorityClass", &spec["priorityClassName"]);
        for probe in ["livenessProbe", "readinessProbe"] {
            assert!(has_port(&spec["containers"][0][probe]["httpGet"]["port"]), "{name}: {probe}");
        }
        let service = named("Service", &webhook(objects)["clientConfig"]["service"]["name"]);
        assert!(selects(&service["spec"]["selector"], labels), "{name}");
        let served = service["spec"]["ports"].as_array().unwrap();
        assert!(served.iter().all(|port| has_port(&port["targetPort"])), "{name}");
        let asked = &webhook(objects)["clientConfig"]["service"];
        let https = served.iter().find(|port| port["port"] == asked["port"]).unwrap();
        assert_eq!((&https["targetPort"], &asked["path"]), (&json!("https"), &json!("/mutate")), "{name}");
        assert_eq!(asked["namespace"], service["metadata"]["namespace"], "{name}");

        for policy in kinds(objects, "NetworkPolicy") {
            assert!(selects(&policy["spec"]["podSelector"], labels), "{name}");
            let let_in = policy["spec"]["ingress"][0]["ports"].as_array().unwrap();
            assert!(let_in.iter().all(|port| has_port(&port["port"])) && let_in.len() == ports.len(), "{name}");
        }
        for monitor in kinds(objects, "ServiceMonitor") {
            assert!(selects(&monitor["spec"]["selector"], &service["metadata"]["labels"]), "{name}");
            let port = &monitor["spec"]["endpoints"][0]["port"];
            assert!(served.iter().any(|served| served["name"] == *port), "{name}");
        }
        for rules in kinds(objects, "PrometheusRule") {
            // Prometheus names the job after the Service.
            let text = rules.to_string();
            let job = format!("job=\\\"{}\\\"", service["metadata"]["name"].as_str().unwrap());
            assert!(!text.contains("job=") || text.contains(&job), "{name}");
        }
    }
}

#[test]
fn whoever_issues_the_certificate_puts_it_where_the_webhook_reads_it_for_the_name_that_is_asked() {
    let Some(rendered) = rendered("whoever_issues_the_certificate") else { return };
    let mut issuers = Vec::new();
    for (name, objects) in &rendered {
        let spec = &deployment(objects)["spec"]["template"]["spec"];
        let args = spec["containers"][0]["args"].as_array().unwrap();
        let dir = args.iter().find_map(|arg| arg.as_str().unwrap().strip_prefix("--cert-dir="));
        let own = args.iter().any(|arg| arg == "--self-signed");
        assert_ne!(own, dir.is_some(), "{name}: one issuer, no more and no less");
        let Some(dir) = dir else {
            issuers.push("self-signed");
            continue;
        };
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == dir).unwrap();
        let volumes = spec["volumes"].as_array().unwrap();
        let secret = &volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap()["secret"]["secretName"];
        let configuration = object(objects, "MutatingWebhookConfiguration", "redis-log-shipper").unwrap();
        let (told, service) =
            (&configuration["metadata"]["annotations"], object(objects, "Service", "redis-log-webhook").unwrap());
        if let Ok(certificate) = object(objects, "Certificate", "redis-log-webhook") {
            let metadata = &certificate["metadata"];
            let reference =
                format!("{}/{}", metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
            assert_eq!(told["cert-manager.io/inject-ca-from"], json!(reference), "{name}");
            assert_eq!(certificate["spec"]["secretName"], *secret, "{name}");
            let host = format!("{}.redis-log-shipper.svc", service["metadata"]["name"].as_str().unwrap());
            assert!(certificate["spec"]["dnsNames"].as_array().unwrap().contains(&json!(host)), "{name}");
            issuers.push("cert-manager");
        } else {
            let annotations = &service["metadata"]["annotations"];
            assert_eq!(annotations["service.beta.openshift.io/serving-cert-secret-name"], *secret, "{name}");
            assert_eq!(told["service.beta.openshift.io/inject-cabundle"], "true", "{name}");
            issuers.push("service CA");
        }
    }
    for issuer in ["self-signed", "cert-manager", "service CA"] {
        assert!(issuers.contains(&issuer), "{issuer} was not rendered");
    }
}

#[test]
fn the_selectors_are_those_that_the_code_checks_again() {
    let Some(rendered) = rendered("the_selectors_are_those_that_the_code_checks_again") else { return };
    for (name, objects) in &rendered {
        let map = object(objects, "ConfigMap", "redis-log-webhook").unwrap();
        let config = Config::parse("config.yaml".as_ref(), map["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let webhook = webhook(objects);
        let labels: BTreeMap<_, _> = config.matching.labels.iter().cloned().collect();
        assert_eq!(webhook["objectSelector"], json!({"matchLabels": labels}), "{name}");
        let namespaces = webhook["namespaceSelector"]["matchExpressions"].as_array().unwrap();
        let opted_in = json!({"key": "redis-log-shipper.io/inject", "operator": "In", "values": ["enabled"]});
        assert!(namespaces.contains(&opted_in), "{name}");
        let never = json!({
            "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", config.namespace],
        });
        assert!(namespaces.contains(&never), "{name}");
        for monitor in kinds(objects, "PodMonitor") {
            assert_eq!(monitor["spec"]["selector"], webhook["objectSelector"], "{name}");
        }
    }
}

/// The manifests state the reason for each value. Other tests show its effect on a real API server.
#[test]
fn the_api_server_asks_about_new_pods_only_and_goes_on_without_an_answer() {
    let Some(rendered) = rendered("the_api_server_asks_about_new_pods_only") else { return };
    let expected = json!({
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "NoneOnDryRun",
        "matchPolicy": "Equivalent",
        "admissionReviewVersions": ["v1"],
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            "scope": "Namespaced",
        }],
    });
    for (name, objects) in &rendered {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(webhook(objects)[key], *value, "{name}: {key}");
        }
    }
}

#[test]
fn the_container_may_do_nothing_that_it_need_not() {
    let Some(rendered) = rendered("the_container_may_do_nothing_that_it_need_not") else { return };
    for (name, objects) in &rendered {
        let spec = &deployment(objects)["spec"]["template"]["spec"];
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(spec["containers"].as_array().unwrap().len(), 1, "{name}");
        assert_eq!(spec["containers"][0]["securityContext"], expected, "{name}");
        let expected = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(spec["securityContext"], expected, "{name}");
        // The root is read-only, and so is every mount.
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{name}");
        let limits = &spec["containers"][0]["resources"]["limits"];
        assert!(limits["memory"].is_string(), "{name}");
    }
}
