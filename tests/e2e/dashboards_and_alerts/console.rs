//! A dashboard of Grafana as OpenShift's console understands it: rows, panels of Grafana's old types, widths in twelfths.

use serde_json::{Map, Value, json};

/// The console compares a value with `<`, Grafana with `<=`. All our thresholds are whole numbers.
const BELOW: f64 = 0.5;
/// Grafana's first threshold has no value: it holds from the lowest number on.
const LOWEST: f64 = -1e15;

/// The dashboard for the console.
pub(crate) fn dashboard(grafana: &Value) -> Value {
    let mut rows: Vec<Value> = Vec::new();
    for item in grafana["panels"].as_array().unwrap() {
        if item["type"] == "row" {
            rows.push(json!({"title": item["title"], "showTitle": true, "panels": []}));
        } else {
            rows.last_mut().unwrap()["panels"].as_array_mut().unwrap().push(panel(item));
        }
    }
    let variables = grafana["templating"]["list"].as_array().unwrap();
    // It has one source of metrics.
    let variables: Vec<_> = variables.iter().filter(|variable| variable["type"] == "query").map(variable).collect();
    json!({
        "title": format!("Redis Enterprise / {}", grafana["title"].as_str().unwrap()),
        "tags": grafana["tags"],
        "templating": {"list": variables},
        "rows": rows,
    })
}

fn variable(grafana: &Value) -> Value {
    json!({
        "type": "query",
        "name": grafana["name"],
        "label": grafana["label"],
        "query": grafana["query"],
        "includeAll": true,
        "multi": false,
        "hide": 0,
        "options": [],
    })
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn panel(grafana: &Value) -> Value {
    let targets = grafana["targets"].as_array().unwrap().iter().map(|target| {
        let mut kept = Map::new();
        for key in ["refId", "expr", "legendFormat"] {
            kept.insert(key.to_owned(), target[key].clone());
        }
        Value::Object(kept)
    });
    let mut panel = json!({
        "id": grafana["id"].to_string(),
        "title": grafana["title"],
        "span": grafana["gridPos"]["w"].as_u64().unwrap() / 2,
        "targets": targets.collect::<Vec<_>>(),
    });
    let defaults = &grafana["fieldConfig"]["defaults"];
    let own = match grafana["type"].as_str().unwrap() {
        "timeseries" => json!({
            "type": "graph",
            "legend": {"show": true},
            "stack": !defaults["custom"]["stacking"].is_null(),
            "yaxes": [{"format": defaults["unit"]}],
        }),
        "stat" => json!({
            "type": "singlestat",
            "format": defaults["unit"],
            "decimals": 0,
            "valueMaps": [{"op": "=", "value": "null", "text": defaults.get("noValue").unwrap_or(&json!("-"))}],
            "options": {"fieldOptions": {"thresholds": thresholds(defaults)}},
        }),
        "table" => json!({"type": "table", "transform": "table", "styles": columns(grafana)}),
        other => panic!("the console has no panel like {other}"),
    };
    panel.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    panel
}

fn thresholds(defaults: &Value) -> Vec<Value> {
    let steps = defaults["thresholds"]["steps"].as_array().unwrap();
    let value = |step: &Value| step["value"].as_f64().map_or(LOWEST, |value| value - BELOW);
    steps.iter().map(|step| json!({"color": step["color"], "value": value(step)})).collect()
}

/// The labels that Grafana's table puts in order.
fn columns(grafana: &Value) -> Vec<Value> {
    let order = grafana["transformations"][0]["options"]["indexByName"].as_object().unwrap();
    let mut names: Vec<_> = order.iter().collect();
    names.sort_by_key(|(_, place)| place.as_u64());
    names.into_iter().map(|(name, _)| json!({"alias": name, "pattern": name, "type": "string"})).collect()
}
