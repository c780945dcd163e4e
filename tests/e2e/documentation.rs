//! The documentation matches the programs and is complete: error texts, metrics, links.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod links;
mod metrics;
mod tables;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use harness::repository;
use prometheus_client::registry::Registry;

/// The variable that makes tests write generated text instead of checking it.
const UPDATE: &str = "UPDATE_GOLDEN";

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// Every page of the documentation, README included.
pub(crate) fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([repository().join("README.md")])
        .collect()
}

/// The texts that the page explains, from the first column of its tables.
fn explained() -> BTreeSet<String> {
    let page = read("docs/troubleshooting.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(text, _)| texts::normal(text)).collect()
}

#[test]
fn troubleshooting_explains_every_error_text() {
    let explained = explained();
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    for text in texts::all() {
        if !explained.contains(&text.text) {
            missing.insert(text.text, text.place);
        }
    }
    let rows: Vec<_> =
        missing.iter().map(|(text, place)| format!("| `{text}` | CAUSE | FIX |     <!-- {place} -->")).collect();
    assert!(
        rows.is_empty(),
        "docs/troubleshooting.md lacks {} texts; add these rows with cause and fix (or, where a text is no error, add it to \
         NO_ERRORS in tests/e2e/documentation/texts.rs):\n{}",
        rows.len(),
        rows.join("\n")
    );
}

#[test]
fn troubleshooting_explains_nothing_that_is_no_longer_said() {
    let said: BTreeSet<_> = texts::all().into_iter().map(|text| text.text).collect();
    let stale: Vec<_> = explained().into_iter().filter(|text| !said.contains(text)).collect();
    assert!(stale.is_empty(), "docs/troubleshooting.md explains what no program says any more:\n{}", stale.join("\n"));
}

/// The Portuguese page quotes messages word for word.
#[test]
fn the_portuguese_page_quotes_what_the_programs_say() {
    let said = explained();
    let page = read("docs/pt-BR.md");
    let first = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let quotes: Vec<_> =
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|code| code.contains(' ')).collect();
    for quote in &quotes {
        let quote = texts::normal(quote.trim_end_matches("..."));
        assert!(said.iter().any(|text| text.contains(quote.trim_end_matches('…').trim())), "no program says {quote}");
    }
    assert!(quotes.len() > 3, "{quotes:?}");
}

/// The names of the metrics that both programs show at their start.
fn shown() -> Vec<String> {
    let mut registry = Registry::default();
    let _webhook = redis_log_webhook::metrics::Metrics::register(&mut registry);
    let _managed = redis_log_webhook::cluster::managed_rbac::Metrics::register(&mut registry);
    let _shipper = redis_log_shipper::metrics::Metrics::register(&mut registry);
    redis_log_shipper::status::file_metrics::FileMetrics::register(
        &mut registry,
        redis_log_shipper::status::SharedStatus::default(),
    );
    redis_log_shipper::status::finding_metrics::FindingMetrics::register(
        &mut registry,
        redis_log_shipper::status::SharedStatus::default(),
    );
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds.map(|(name, kind)| format!("{name}{}", if kind == "counter" { "_total" } else { "" })).collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_one_heading() {
    let broken = links::broken();
    assert!(broken.is_empty(), "links that lead nowhere, or to one of several headings:\n{}", broken.join("\n"));
}

/// An alert on findings leads to the section of its code, which is a label.
#[test]
fn every_alert_leads_to_a_section_of_the_page_on_troubleshooting() {
    const PAGE: &str = "https://github.com/redis-log-shipper/redis-log-shipper/blob/main/docs/troubleshooting.md#";
    let page = read("docs/troubleshooting.md");
    for path in ["manifests/components/monitoring/rules.yaml", "manifests/sidecars/rules.yaml"] {
        let rules = harness::read_object(&repository().join(path)).unwrap();
        for rule in rules["spec"]["groups"][0]["rules"].as_array().unwrap() {
            let url = rule["annotations"]["runbook_url"].as_str();
            let anchor = url.and_then(|url| url.strip_prefix(PAGE)).unwrap_or_else(|| panic!("no section: {rule}"));
            let anchors: Vec<_> = match anchor {
                "{{ $labels.code | toLower }}" => findings::ALL.iter().map(|row| row.text.to_lowercase()).collect(),
                anchor => vec![anchor.to_owned()],
            };
            for anchor in anchors {
                assert!(links::has_heading(&page, &anchor), "no heading {anchor}: {rule}");
            }
        }
    }
}

#[test]
fn the_page_of_metrics_is_the_code() {
    const START: &str = "<!-- generated from the code -->\n";
    const END: &str = "<!-- until here -->\n";
    let metrics = metrics::all();
    for name in shown() {
        assert!(metrics.iter().any(|metric| metric.name == name), "{name} is shown and was not found in the sources");
    }
    let row = |metric: &metrics::Metric| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind, metric.help)
    };
    let rows: String = metrics.iter().map(row).collect();
    let expected = format!("| metric | type | labels | what it is |\n|---|---|---|---|\n{rows}");
    let page = read("docs/metrics.md");
    let (before, rest) = page.split_once(START).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        let page = format!("{before}{START}{expected}{END}{after}");
        std::fs::write(repository().join("docs/metrics.md"), page).unwrap();
        return;
    }
    assert_eq!(table, expected, "write it anew with {UPDATE}=1 cargo test -p e2e --test e2e documentation::");
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_that_exist() {
    let files = [
        "manifests/components/monitoring/rules.yaml",
        "manifests/sidecars/rules.yaml",
        "manifests/components/dashboards/log-shipping.json",
    ];
    let rules: String = files.into_iter().map(read).collect();
    let names: BTreeSet<_> = metrics::all().into_iter().map(|metric| metric.name).collect();
    let mut asked = 0;
    for word in rules.split(|char: char| !char.is_ascii_alphanumeric() && char != '_') {
        if word.starts_with("redis_log_") {
            asked += 1;
            assert!(names.contains(word.trim_end_matches("_bucket")), "they ask for {word}, which no program has");
        }
    }
    assert!(asked > 5, "they ask for nothing");
}
