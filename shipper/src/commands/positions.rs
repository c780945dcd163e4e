//! `positions`: shows how far each file is acknowledged, and resets a file so that it is shipped from its start.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use runtime::printable;

use crate::state::home::Home;
use crate::state::{Record, StreamRecord};

/// The flags of `positions`.
#[derive(Clone, Debug, clap::Args)]
pub struct PositionsArgs {
    /// Where positions are kept.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where they are kept while the state directory cannot be written.
    #[arg(long, env = "REDIS_LOG_SHIPPER_STATE_FALLBACK_DIR", value_name = "DIR")]
    pub state_fallback_dir: Option<OsString>,
    /// Forget the position of this file, such as dmcproxy.log; no shipper may run meanwhile.
    #[arg(long, value_name = "FILE")]
    pub reset: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &PositionsArgs) -> anyhow::Result<ExitCode> {
    // An empty path means none: a manifest sets an unused variable to an empty string.
    let fallback = args.state_fallback_dir.as_ref().filter(|given| !given.is_empty()).map(PathBuf::from);
    let home = Home::new(Some(args.state_dir.clone()), fallback);
    if let Some(file) = &args.reset {
        reset(home, &args.state_dir, file)?;
    } else {
        let record = load(home)?.1;
        std::io::stdout().lock().write_all(table(&record).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn reset(mut home: Home, dir: &Path, file: &str) -> anyhow::Result<()> {
    // A running shipper would overwrite these positions within a second.
    home.lock().context("nothing was reset")?;
    let (mut home, mut record) = load(home)?;
    let shown = printable(file);
    if record.remove(file).is_none() {
        let known: Vec<_> = record.keys().map(|file| printable(file)).collect();
        bail!("no position of \"{shown}\" is kept in {}; there are those of {}", dir.display(), known.join(", "));
    }
    home.save(&record)?;
    eprintln!("{shown} is shipped from its start after the next start");
    Ok(())
}

/// Reads the positions. Prints a warning for one damaged generation, and fails if both are unreadable.
pub(super) fn load(mut home: Home) -> anyhow::Result<(Home, Record)> {
    let (record, errors) = home.load();
    let damaged = !errors.is_empty();
    for error in errors {
        eprintln!("warning: {:#}", anyhow::Error::from(error));
    }
    if record.is_empty() && damaged {
        bail!("no position file can be read");
    }
    Ok((home, record))
}

const HEAD: [&str; 4] = ["FILE", "POSITION", "ROTATED", "LAST ENTRY"];

fn table(record: &Record) -> String {
    let rows: Vec<_> = record.iter().map(|(file, stream)| row(file, stream)).collect();
    let head = HEAD.map(ToOwned::to_owned);
    let lines: Vec<_> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let (file_width, position_width, rotated_width) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [file, position, rotated, last] in lines {
        let line = format!("{file:file_width$}  {position:>position_width$}  {rotated:>rotated_width$}  {last}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One row: the file, its position in the live file, the number of rotated files before it, and the time of the last entry.
fn row(file: &str, stream: &StreamRecord) -> [String; 4] {
    let live = stream.queue.last().map_or(0, |live| live.position);
    let rotated = stream.queue.len().saturating_sub(1);
    let last = match jiff::Timestamp::from_nanosecond(i128::from(stream.chain.last)) {
        Ok(last) if stream.chain.last != 0 => format!("{last:.3}"),
        _ => "-".to_owned(),
    };
    [printable(file).into_owned(), live.to_string(), rotated.to_string(), last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::Chain;
    use crate::state::GenerationRecord;

    fn stream(positions: &[u64], last: i64) -> StreamRecord {
        let generation = |position: &u64| GenerationRecord {
            device: 1,
            inode: 2,
            position: *position,
            ..GenerationRecord::default()
        };
        StreamRecord {
            chain: Chain { last, timed: true, ..Chain::default() },
            queue: positions.iter().map(generation).collect(),
            ..StreamRecord::default()
        }
    }

    #[test]
    fn shows_where_each_file_stands() {
        let record = Record::from([
            ("dmcproxy.log".to_owned(), stream(&[4096, 12], 1_771_626_660_123_000_000)),
            ("a.log".to_owned(), stream(&[], 0)),
        ]);
        let expected = "\
FILE          POSITION  ROTATED  LAST ENTRY
a.log                0        0  -
dmcproxy.log        12        1  2026-02-20T22:31:00.123Z
";
        assert_eq!(table(&record), expected);
    }

    #[test]
    fn shows_no_name_that_moves_the_cursor_or_breaks_the_line() {
        let record = Record::from([("\u{1b}[2Ja\nb.log".to_owned(), stream(&[1], 0))]);
        let shown = table(&record);
        assert!(shown.lines().nth(1).unwrap().starts_with("\\u{1b}[2Ja\\nb.log  "), "{shown}");
        assert_eq!(shown.lines().count(), 2);
    }

    /// A state directory with the positions of `record`.
    fn kept(record: &Record) -> (tempfile::TempDir, impl Fn() -> Home + use<>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let home = move || Home::new(Some(path.clone()), None);
        home().save(record).unwrap();
        (dir, home)
    }

    #[test]
    fn resets_one_file_and_no_other() {
        let record = Record::from([("a.log".to_owned(), stream(&[1], 1)), ("b.log".to_owned(), stream(&[2], 2))]);
        let (dir, home) = kept(&record);
        let error = reset(home(), dir.path(), "c.log").unwrap_err().to_string();
        assert!(error.contains("a.log, b.log"), "{error}");
        reset(home(), dir.path(), "a.log").unwrap();
        assert_eq!(home().load().0.keys().collect::<Vec<_>>(), ["b.log"]);
    }

    #[test]
    fn resets_nothing_while_a_shipper_runs() {
        let (dir, home) = kept(&Record::from([("a.log".to_owned(), stream(&[1], 1))]));
        let mut running = home();
        running.lock().unwrap();
        let error = format!("{:#}", reset(home(), dir.path(), "a.log").unwrap_err());
        assert!(error.contains("in use by another shipper"), "{error}");
        assert_eq!(home().load().0.len(), 1);
    }
}
