//! The table of docs/diagnosis.md is what the tests show: each row has a code of the table of findings, and a test that exists
//! and expects this code.

use std::collections::BTreeSet;

use harness::repository;

/// One row.
struct Row<'a> {
    fault: &'a str,
    code: &'a str,
    seconds: &'a str,
    /// The module, and the function in it.
    test: (&'a str, &'a str),
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let table = page.lines().filter(|line| line.contains("[RLS"));
    let cells = table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| Row {
            fault: cells[0],
            code: cells[1].split(['[', ']']).nth(1).unwrap(),
            seconds: cells[3],
            test: cells[4].trim_matches('`').split_once("::").unwrap(),
        })
        .collect()
}

/// The text of a test function, from the file of its module or from a file in the module's directory.
fn source((module, function): (&str, &str)) -> Option<String> {
    let dir = repository().join("tests/e2e");
    let mut files = vec![dir.join(format!("{module}.rs"))];
    files.extend(std::fs::read_dir(dir.join(module)).into_iter().flatten().map(|entry| entry.unwrap().path()));
    files.into_iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let (_, rest) = text.split_once(&format!("async fn {function}("))?;
        Some(rest.split("\n}\n").next()?.to_owned())
    })
}

#[test]
fn every_row_has_a_code_and_a_test_that_expects_it() {
    let page = std::fs::read_to_string(repository().join("docs/diagnosis.md")).unwrap();
    let rows = rows(&page);
    for Row { fault, code, seconds, test } in &rows {
        assert!(findings::ALL.iter().any(|row| row.text == *code), "{fault}: there is no code {code}");
        let source = source(*test);
        assert!(source.is_some_and(|source| source.contains(code)), "{fault}: {test:?} does not expect {code}");
        let limit = super::GOAL.as_secs_f32();
        assert!(seconds.parse::<f32>().is_ok_and(|seconds| seconds <= limit), "{fault}: {seconds} s");
    }
    let faults: BTreeSet<_> = rows.iter().map(|row| row.fault).collect();
    // The twenty, of which one is a limit of three kinds.
    assert!(faults.len() >= 22, "{faults:?}");
}
