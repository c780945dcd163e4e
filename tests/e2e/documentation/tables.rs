//! The tables of docs/architecture.md against the code: the configuration's keys with their defaults, and the annotations.
//!
//! The code's keys come from the parser's own message about an unknown key, the defaults from the default configuration.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use redis_log_webhook::config::{Config, ConfigError, Fault};

/// A key that no configuration has, nor one near it.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
/// How the page calls an empty default: none at all, or the shipper decides.
const EMPTY: [&str; 3] = ["none", "nothing", "the shipper's"];

/// The rows of the table below `header`, as cells.
fn rows(page: &str, header: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once(&format!("| {header}")).unwrap_or_else(|| panic!("no table {header}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The code in a cell: what stands between backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn faults(text: &str) -> Vec<Fault> {
    match Config::parse(Path::new("config.yaml"), text) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Faults { faults, .. }) => faults,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The keys that a section knows, which stand in its message about an unknown one.
fn known(fault: &Fault) -> Option<Vec<String>> {
    let (_, list) =
        fault.fault.split_once("unknown key").filter(|_| fault.key.ends_with(UNKNOWN))?.1.split_once("one of ")?;
    Some(list.trim_end_matches('?').split(", ").map(str::to_owned).collect())
}

/// The keys below `key`, where it is a section, or a list of sections.
fn below(key: &str, value: &str) -> Option<Vec<String>> {
    faults(&format!("{key}: {value}")).iter().find_map(known)
}

/// The value of a key such as `token.audience` in the default configuration, as its debug output shows it.
fn default_of(key: &str) -> String {
    let text = format!("{:#?}", Config::default());
    let (mut rest, mut indent) = (text.as_str(), String::new());
    for part in key.split('.') {
        indent.push_str("    ");
        let name = if part == "match" { "matching".to_owned() } else { snake_case(part) };
        let start = format!("\n{indent}{name}: ");
        rest = rest.split_once(&start).unwrap_or_else(|| panic!("the configuration has no field for {key}")).1;
    }
    indent.push(' ');
    let mut lines = rest.lines();
    let first = lines.next().unwrap().trim_end_matches(',').to_owned();
    lines.take_while(|line| line.starts_with(&indent)).fold(first, |value, line| value + line)
}

fn snake_case(key: &str) -> String {
    let letters = key
        .chars()
        .map(|char| if char.is_uppercase() { format!("_{}", char.to_lowercase()) } else { char.to_string() });
    letters.collect()
}

/// Every key of the configuration, such as `token.audience`; and those of lists, such as `ca` with `key`.
fn keys() -> (BTreeSet<String>, Vec<(String, String)>) {
    let (mut keys, mut of_lists) = (BTreeSet::new(), Vec::new());
    for key in faults(&format!("{UNKNOWN}: 1")).iter().find_map(known).unwrap() {
        if let Some(children) = below(&key, &format!("{{{UNKNOWN}: 1}}")) {
            keys.extend(children.iter().map(|child| format!("{key}.{child}")));
            continue;
        }
        let children = below(&key, &format!("[{{{UNKNOWN}: 1}}]")).unwrap_or_default();
        of_lists.extend(children.into_iter().map(|child| (key.clone(), child)));
        keys.insert(key);
    }
    (keys, of_lists)
}

/// Each row's keys, each with its default, as the page says it.
fn documented(rows: &[Vec<String>]) -> Vec<(String, String)> {
    let mut documented = Vec::new();
    for row in rows {
        let (keys, defaults) = (code(&row[0]), row[1].split(", ").collect::<Vec<_>>());
        for (at, key) in keys.iter().enumerate() {
            let default = if defaults.len() == keys.len() { defaults[at].to_owned() } else { row[1].clone() };
            documented.push(((*key).to_owned(), default));
        }
    }
    documented
}

#[test]
fn the_table_of_the_configuration_has_every_key() {
    let rows = rows(&super::read("docs/architecture.md"), "key | default |");
    let (keys, of_lists) = keys();
    let documented: BTreeSet<_> = documented(&rows).into_iter().map(|(key, _)| key).collect();
    assert_eq!(documented, keys, "left: docs/architecture.md, right: the code");
    for (key, child) in of_lists {
        let row = rows.iter().find(|row| code(&row[0]).contains(&key.as_str())).unwrap();
        assert!(code(&row[2]).contains(&child.as_str()), "the row of {key} does not name {child}");
    }
}

#[test]
fn the_table_of_the_configuration_has_the_defaults_of_the_code() {
    let page = super::read("docs/architecture.md");
    for (key, default) in documented(&rows(&page, "key | default |")) {
        let (value, literals) = (default_of(&key), code(&default));
        let is_empty = value == "[]" || value == "None";
        if key == "include" {
            // The shipper decides.
            let command = redis_log_shipper::Args::command();
            let run = command.find_subcommand("run").unwrap();
            let flag = run.get_arguments().find(|flag| flag.get_id() == "include").unwrap();
            assert!(is_empty && flag.get_help().unwrap().to_string().contains(&format!("[default: {}]", literals[0])));
        } else if is_empty {
            assert!(EMPTY.contains(&default.as_str()), "{key}: {default} is documented, and the default is empty");
        } else if let [literal] = literals[..] {
            let literal = literal.replace("VERSION", env!("CARGO_PKG_VERSION"));
            let (section, child) = key.split_once('.').unwrap_or((&key, ""));
            let text = if child.is_empty() {
                format!("{key}: '{literal}'")
            } else {
                format!("{section}: {{{child}: {literal}}}")
            };
            let config = Config::parse(Path::new("config.yaml"), &text).unwrap();
            assert_eq!(config, Config::default(), "{key}: the default is not {literal}");
        } else {
            assert!(!EMPTY.contains(&default.as_str()), "{key}: {default} is documented, and the default is {value}");
            // A list, or a reference to another section of the page.
            for literal in value.split('"').skip(1).step_by(2) {
                assert!(page.contains(literal), "{key}: the page does not have {literal}");
            }
        }
    }
}

/// The names of the annotations that the webhook reads or writes.
fn annotations() -> BTreeSet<String> {
    redis_log_webhook::admission::annotations::names().map(str::to_owned).collect()
}

#[test]
fn the_table_of_annotations_has_every_annotation_that_a_pod_may_have() {
    /// What the webhook writes.
    const WRITTEN: [&str; 3] = ["hash", "pull-secrets", "status"];
    let page = super::read("docs/architecture.md");
    let rows = rows(&page, "annotation `redis-log-shipper.io/...` | value |");
    let mut documented: BTreeSet<_> = rows.iter().flat_map(|row| code(&row[0])).map(str::to_owned).collect();
    for name in WRITTEN {
        assert!(page.contains(&format!("/{name}`")), "the page does not explain {name}");
        documented.insert(name.to_owned());
    }
    assert_eq!(documented, annotations(), "left: docs/architecture.md, right: the code");
}

#[test]
fn every_annotation_that_a_page_names_exists() {
    let known = annotations();
    let mut named = 0;
    for page in super::pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for rest in text.split("redis-log-shipper.io/").skip(1) {
            let name: String = rest.chars().take_while(|char| char.is_ascii_lowercase() || *char == '-').collect();
            // `-` behind a name removes it; a placeholder has no letters.
            let name = name.trim_end_matches('-');
            assert!(name.is_empty() || known.contains(name), "{}: there is no annotation {name}", page.display());
            named += usize::from(!name.is_empty());
        }
    }
    assert!(named > 10, "{named} annotations were found");
}
