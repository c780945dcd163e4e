//! What this project is watched with: dashboards that Grafana and OpenShift's console take, and alerts that fire when they
//! should. The cookbook's test asks a real Loki every LogQL query of the dashboards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

mod console;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::manifests::{object, render_with};
use harness::repository;
use harness::servers::Tools;
use serde_json::{Value, json};

const SHIPPING: &str = "manifests/components/dashboards/log-shipping.json";
const LOGS: &str = "manifests/components/dashboards/redis-enterprise-logs.json";
const CONSOLE: &str = "manifests/components/dashboards/openshift/log-shipping.json";

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

/// Runs Prometheus's and Grafana's own code on files; see `tests/servers/monitoring`.
fn checked(tools: &Tools, what: &str, files: &[PathBuf]) -> u64 {
    let output = Command::new(&tools.monitoring).arg(what).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// The objects of both components that bring dashboards.
fn rendered(tools: &Tools) -> Vec<Value> {
    render_with(&tools.kustomize, &["self-signed", "monitoring", "dashboards", "dashboards/openshift"]).unwrap()
}

fn maps<'a>(objects: &'a [Value], label: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == "ConfigMap" && !object["metadata"]["labels"][label].is_null())
        .collect()
}

#[test]
fn grafanas_types_take_every_dashboard_and_prometheus_every_query() {
    let Some(tools) = Tools::find("grafanas_types_take_every_dashboard").unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let objects = rendered(&tools);
    // As Grafana's sidecar finds them: every file of every ConfigMap with the label.
    let maps = maps(&objects, "grafana_dashboard");
    assert_eq!(maps.len(), 2);
    let files = maps.iter().flat_map(|map| map["data"].as_object().unwrap()).map(|(name, text)| {
        let path = dir.path().join(name);
        std::fs::write(&path, text.as_str().unwrap()).unwrap();
        path
    });
    let queries = checked(&tools, "dashboards", &files.collect::<Vec<_>>());
    assert!(queries > 30, "{queries} queries were found");
}

#[test]
fn openshifts_console_gets_the_panels_of_grafana_in_its_own_words() {
    let expected = serde_json::to_string_pretty(&console::dashboard(&read(SHIPPING))).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(repository().join(CONSOLE), expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(repository().join(CONSOLE)).unwrap();
    assert_eq!(found, expected, "write it anew with UPDATE_GOLDEN=1 cargo test -p e2e dashboards_and_alerts");
}

#[test]
fn openshifts_console_finds_its_dashboard() {
    let Some(tools) = Tools::find("openshifts_console_finds_its_dashboard").unwrap() else { return };
    let objects = rendered(&tools);
    let maps = maps(&objects, "console.openshift.io/dashboard");
    assert_eq!(maps.len(), 1);
    assert_eq!(maps[0]["metadata"]["labels"]["console.openshift.io/dashboard"], "true");
    assert_eq!(maps[0]["metadata"]["namespace"], "openshift-config-managed");
    // It takes the first file, and shows nothing of a panel of another type.
    let data: Vec<_> = maps[0]["data"].as_object().unwrap().values().collect();
    assert_eq!(data.len(), 1);
    let dashboard: Value = serde_json::from_str(data[0].as_str().unwrap()).unwrap();
    for row in dashboard["rows"].as_array().unwrap() {
        for panel in row["panels"].as_array().unwrap() {
            assert!(["graph", "singlestat", "table"].contains(&panel["type"].as_str().unwrap()), "{panel}");
        }
    }
}

/// One choice of a cluster follows from the metrics to the logs, and to the dashboards of the databases.
#[test]
fn the_dashboards_share_their_variables_and_the_metrics_have_the_labels_for_them() {
    let names = |dashboard: &Value| -> BTreeSet<String> {
        let list = dashboard["templating"]["list"].as_array().unwrap().clone();
        list.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect()
    };
    let (logs, shipping) = (read(LOGS), read(SHIPPING));
    for shared in ["namespace", "redis_cluster", "pod"] {
        assert!(names(&logs).contains(shared) && names(&shipping).contains(shared), "{shared}");
    }
    // As redis-enterprise-mixin calls it.
    assert!(names(&logs).contains("job"));
    for dashboard in [&logs, &shipping] {
        assert!(dashboard["links"].as_array().unwrap().iter().all(|link| link["includeVars"] == true));
    }
    let monitor = harness::read_object(&repository().join("manifests/sidecars/pod-monitor.yaml")).unwrap();
    let relabelings = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"].as_array().unwrap();
    let cluster = json!({
        "action": "replace",
        "sourceLabels": ["__meta_kubernetes_pod_label_redis_io_cluster"],
        "targetLabel": "redis_cluster",
    });
    assert!(relabelings.contains(&cluster), "the metrics of the sidecars name no cluster");
}

/// The rules as files, named as the tests of alerts name them, and those tests beside them.
fn alerts(tools: &Tools, dir: &Path) -> (Vec<Value>, Vec<PathBuf>) {
    let objects = rendered(tools);
    let mut rules = Vec::new();
    for name in ["redis-log-shipper", "redis-log-webhook"] {
        let spec = &object(&objects, "PrometheusRule", name).unwrap()["spec"];
        // JSON is YAML.
        std::fs::write(dir.join(format!("{name}.yaml")), spec.to_string()).unwrap();
        rules.extend(
            spec["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()),
        );
    }
    let tests = std::fs::read_dir(repository().join("tests/alerts")).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let copy = dir.join(path.file_name().unwrap());
        std::fs::copy(&path, &copy).unwrap();
        copy
    });
    (rules, tests.collect())
}

#[test]
fn alerts_fire_when_prometheus_itself_judges_the_series_of_their_tests() {
    let Some(tools) = Tools::find("alerts_fire_when_prometheus_itself_judges").unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (_, tests) = alerts(&tools, dir.path());
    let compared = checked(&tools, "test", &tests);
    assert!(compared > 20, "{compared} expectations were compared");
}

#[test]
fn every_alert_has_a_test_where_it_fires_and_one_where_it_does_not() {
    let Some(tools) = Tools::find("every_alert_has_a_test").unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (rules, tests) = alerts(&tools, dir.path());
    let (mut fires, mut is_quiet) = (BTreeSet::new(), BTreeSet::new());
    for file in &tests {
        let cases = harness::read_object(file).unwrap();
        for test in cases["tests"].as_array().unwrap() {
            for alert in test["alert_rule_test"].as_array().unwrap() {
                let name = alert["alertname"].as_str().unwrap().to_owned();
                let expects_some = alert["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                if expects_some {
                    fires.insert(name)
                } else {
                    is_quiet.insert(name)
                };
            }
        }
    }
    assert!(rules.len() > 12, "{} alerts were found", rules.len());
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(fires.contains(name), "no test lets {name} fire");
        assert!(is_quiet.contains(name), "no test keeps {name} quiet");
    }
}
