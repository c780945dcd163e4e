//! What is shown of files, byte for byte.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

const LINES: &str = "2026-02-20 22:31:07,000 ERROR cnm: bdb:12 failed, redis://admin:hunter22@h:1\n  more\x1b[31m\x07\n\
    2999-02-20 22:31:07,000 odd\n2026-02-20 22:31:07,000 [redacted:1-7]\n";

/// What was written.
#[derive(Clone, Default)]
struct Written(Rc<RefCell<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `preview` shows of a directory with `LINES` and a file without timestamps.
fn shown<V: View>(flags: &[&str], limit: Option<u64>, view: impl Fn(Written) -> V) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cnm.log"), LINES).unwrap();
    std::fs::write(dir.path().join("plain.log"), "no time\n").unwrap();
    let log_dir = format!("--log-dir={}", dir.path().display());
    let line = ["redis-log-shipper", "preview", &log_dir].into_iter().chain(flags.iter().copied());
    let Command::Preview(args) = Args::parse_from(line).command else { panic!("no preview") };
    let settings = ReadSettings::new(&args.run).unwrap();
    let files = input::list(&args.paths, &settings.discovery, &args.stdin_name).unwrap();
    let written = Written::default();
    let summary = show(&settings, files, limit, view(written.clone())).unwrap().to_string();
    let text = String::from_utf8(written.0.take()).unwrap();
    (text, summary)
}

fn text(flags: &[&str], limit: Option<u64>) -> (String, String) {
    shown(flags, limit, |out| Printer::new(out, Output::Text))
}

#[test]
fn shows_time_level_database_labels_and_redactions_in_colour_and_nothing_that_moves_the_cursor() {
    let (text, summary) = text(&["--max-age=876000h", "--include=cnm.log", "--label=job=x"], None);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "\x1b[1m==> cnm.log\x1b[0m  \x1b[2m{job=\"x\", log_file=\"cnm\"}\x1b[0m");
    assert!(lines[1].starts_with("20") && lines[1].contains("  \x1b[31merror   \x1b[0m  \x1b[2mbdb=12\x1b[0m  "));
    assert!(lines[1].ends_with("redis://admin:\x1b[1m\x1b[35m[redacted:8-15]\x1b[0m@h:1"), "{:?}", lines[1]);
    assert_eq!(lines[2], "      more\\u{7}");
    // Its timestamp is not accepted.
    assert!(lines[3].starts_with("\x1b[2m2") && lines[3].ends_with("  2999-02-20 22:31:07,000 odd"), "{}", lines[3]);
    // What the program wrote itself is no mark.
    assert!(lines[4].ends_with("  2026-02-20 22:31:07,000 [redacted:1-7]"), "{:?}", lines[4]);
    assert_eq!(lines.len(), 5);
    assert!(summary.starts_with("3 entries of 1 files would be pushed;"), "{summary}");
    assert!(summary.ends_with("; secrets redacted: 1 (url 1)\n"), "{summary}");
}

#[test]
fn ends_at_the_limit() {
    let (text, _) = text(&["--max-age=876000h"], Some(2));
    assert!(text.contains("bdb=12") && !text.contains("[redacted:1-7]") && !text.contains("plain"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn says_which_entries_are_not_pushed() {
    let entries = |output| {
        let (text, summary) =
            shown(&["--max-age=1s", "--drop=plain*:pattern=no time"], None, |out| Printer::new(out, output));
        assert!(summary.starts_with("0 entries of 2 files would be pushed; 1 are dropped by rules"), "{summary}");
        assert!(summary.contains("; 3 older than --max-age are skipped"), "{summary}");
        text
    };
    assert_eq!(entries(Output::Text).matches("[not pushed: older than --max-age]").count(), 3);
    assert_eq!(entries(Output::Text).matches("[not pushed: dropped by a rule]").count(), 1);
    let json = entries(Output::Json);
    let skipped = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["not_pushed"].is_string();
    assert_eq!(json.lines().map(skipped).collect::<Vec<_>>(), [true, true, true, true]);
}

#[test]
fn counts_by_file_the_formats_and_the_entries_without_a_timestamp() {
    let table = "\
FILE       FORMAT  LINES  ENTRIES  WITHOUT TIMESTAMP
cnm.log    python      4        3  0
plain.log  none        1        1  1
";
    assert_eq!(shown(&[], None, |out| Formats::new(out, Output::Text)).0, table);
    let json = shown(&["--exclude=plain.log"], None, |out| Formats::new(out, Output::Json)).0;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "file": "cnm.log", "formats": {"python": 3}, "lines": 4, "entries": 3, "joined": 1, "untimed": 0,
    });
    assert_eq!(json, expected);
}
