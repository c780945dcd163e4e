//! docs/troubleshooting.md has one section for each code, written from the table.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str =
    "<!-- The sections below come from findings/src/table.rs: UPDATE_GOLDEN=1 cargo test -p findings -->\n";
const END: &str = "<!-- End of the sections from findings/src/table.rs -->\n";

/// The sections as the table has them.
fn sections() -> String {
    let mut text = String::new();
    for row in findings::ALL {
        let severity = match row.severity {
            findings::Severity::Info => "Info",
            findings::Severity::Warning => "Warning",
            findings::Severity::Error => "Error",
        };
        let (code, title, cause, fix) = (row.text, row.title, row.cause, row.fix);
        write!(text, "\n### {code}\n\n**{title}.** {severity}.\n\n- Cause: {cause}\n- Fix: {fix}\n").unwrap();
    }
    text
}

#[test]
fn has_the_sections_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the comment before the sections");
    let (between, after) = rest.split_once(END).expect("the page has the comment after the sections");
    let expected = format!("{}\n", sections());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(between, expected, "run UPDATE_GOLDEN=1 cargo test -p findings, and read the difference");
}
