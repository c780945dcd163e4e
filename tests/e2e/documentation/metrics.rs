//! Reads the programs' metrics from their sources, because a family without a value shows nowhere else.

use std::collections::BTreeMap;
use std::path::Path;

use harness::repository;
use proc_macro2::{TokenStream, TokenTree};

/// A metric as Prometheus knows it.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<String>,
    pub(crate) help: String,
}

/// All metrics, in the order of their registration.
pub(crate) fn all() -> Vec<Metric> {
    let files = ["webhook/src", "shipper/src"].into_iter().flat_map(|folder| sources(&repository().join(folder)));
    files.filter(|source| source.contains("sub_registry_with_prefix")).flat_map(|source| registered(&source)).collect()
}

fn sources(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let of = |path: &std::path::PathBuf| {
        if path.is_dir() { sources(path) } else { vec![std::fs::read_to_string(path).unwrap()] }
    };
    paths.iter().flat_map(of).collect()
}

/// The words of a source, without its group structure.
fn words(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                words.push("(".to_owned());
                self::words(group.stream(), words);
                words.push(")".to_owned());
            }
            other => words.push(other.to_string()),
        }
    }
}

fn registered(source: &str) -> Vec<Metric> {
    let mut all = Vec::new();
    words(source.parse().unwrap(), &mut all);
    let word = |at: usize| all.get(at).map_or("", String::as_str);
    let literal = |at: usize| word(at).strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::to_owned);
    let fields = fields(&all);
    let (mut prefix, mut said, mut metrics) = (String::new(), String::new(), Vec::new());
    for at in 0..all.len() {
        match word(at) {
            "sub_registry_with_prefix" => prefix = literal(at + 2).unwrap(),
            "help" if word(at + 1) == "=" => said = literal(at + 2).unwrap(),
            "register" | "register_with_unit" if word(at + 1) == "(" => {
                // The function `register` itself has a registry here, not a name.
                let Some(name) = literal(at + 2) else { continue };
                let rest = &all[at..];
                let field = rest.windows(3).find(|three| three[0] == "metrics" && three[1] == ".").unwrap();
                let unit = rest.windows(4).find(|four| four[0] == "Unit").filter(|_| word(at) == "register_with_unit");
                let unit = unit.map_or(String::new(), |four| format!("_{}", four[3].to_lowercase()));
                let (kind, labels) = fields.get(&field[2]).unwrap_or_else(|| panic!("no field {}", field[2])).clone();
                let total = if kind == "counter" { "_total" } else { "" };
                let help = literal(at + 4).unwrap_or_else(|| said.clone());
                metrics.push(Metric { name: format!("{prefix}_{name}{unit}{total}"), kind, labels, help });
            }
            // A row of the table of gauges that are computed at each scrape: name, help, unit.
            gauge @ ("FileGauge" | "FindingGauge") if word(at + 1) == "(" => {
                let (Some(name), Some(help)) = (literal(at + 4), literal(at + 8)) else { continue };
                let unit = all[at..].windows(4).take(16).find(|four| four[0] == "Unit");
                let unit = unit.map_or(String::new(), |four| format!("_{}", four[3].to_lowercase()));
                let labels = labels(&all, if gauge == "FileGauge" { "File" } else { "FindingLabels" });
                metrics.push(Metric { name: format!("{prefix}_{name}{unit}"), kind: "gauge", labels, help });
            }
            _ => {}
        }
    }
    metrics
}

/// The fields that hold metrics, with their kind and labels.
fn fields(all: &[String]) -> BTreeMap<String, (&'static str, Vec<String>)> {
    let word = |at: usize| all.get(at).map_or("", String::as_str);
    let kind = |name: &str| match name {
        "Counter" => Some("counter"),
        "Gauge" => Some("gauge"),
        "Histogram" => Some("histogram"),
        _ => None,
    };
    let mut fields = BTreeMap::new();
    for at in 1..all.len() {
        if word(at) != ":" || word(at + 1) == ":" {
            continue;
        }
        let found = if word(at + 1) == "Family" {
            kind(word(at + 5)).map(|kind| (kind, labels(all, word(at + 3))))
        } else {
            kind(word(at + 1)).map(|kind| (kind, Vec::new()))
        };
        if let Some(found) = found {
            fields.insert(word(at - 1).to_owned(), found);
        }
    }
    fields
}

/// The fields of the label struct `name`.
fn labels(all: &[String], name: &str) -> Vec<String> {
    let start = all.windows(2).position(|two| two[0] == "struct" && two[1] == name);
    let start = start.unwrap_or_else(|| panic!("no struct {name}")) + 3;
    let body: Vec<_> = all[start..].iter().take_while(|word| *word != ")").collect();
    body.windows(2).filter(|two| two[1] == ":").map(|two| two[0].clone()).collect()
}
