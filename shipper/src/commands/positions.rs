//! `positions`: how far each file is acknowledged, and how to have one shipped from its start again.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::args::PositionsArgs;
use crate::position::{Record, Store, StreamRecord};
use crate::state_lock::StateLock;

/// Runs the command.
pub(crate) fn run(args: &PositionsArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(Some(args.state_dir.clone()));
    if let Some(file) = &args.reset {
        reset(&args.state_dir, &store, file)?;
    } else {
        let record = load(&store)?;
        std::io::stdout().lock().write_all(table(&record).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn reset(dir: &Path, store: &Store, file: &str) -> anyhow::Result<()> {
    // Whoever runs would write its own positions over these within a second.
    let _lock = StateLock::take(dir).context("nothing was reset")?;
    let mut record = load(store)?;
    if record.remove(file).is_none() {
        let known: Vec<_> = record.keys().map(String::as_str).collect();
        bail!("no position of {file:?} is kept in {}; there are those of {}", dir.display(), known.join(", "));
    }
    store.save(&record)?;
    eprintln!("{file} is shipped from its start after the next start");
    Ok(())
}

/// The positions. One damaged generation is said; the command fails where neither can be read.
fn load(store: &Store) -> anyhow::Result<Record> {
    let (record, errors) = store.load();
    let damaged = !errors.is_empty();
    for error in errors {
        eprintln!("warning: {:#}", anyhow::Error::from(error));
    }
    if record.is_empty() && damaged {
        bail!("no position file can be read");
    }
    Ok(record)
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

/// The position is that in the live file; rotated ones that are not read to their end stand before it.
fn row(file: &str, stream: &StreamRecord) -> [String; 4] {
    let live = stream.queue.last().map_or(0, |live| live.position);
    let rotated = stream.queue.len().saturating_sub(1);
    let last = match jiff::Timestamp::from_nanosecond(i128::from(stream.chain.last)) {
        Ok(last) if stream.chain.last != 0 => format!("{last:.3}"),
        _ => "-".to_owned(),
    };
    [file.to_owned(), live.to_string(), rotated.to_string(), last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::Chain;
    use crate::position::GenerationRecord;

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
    fn resets_one_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        let record = Record::from([("a.log".to_owned(), stream(&[1], 1)), ("b.log".to_owned(), stream(&[2], 2))]);
        store.save(&record).unwrap();
        let error = reset(dir.path(), &store, "c.log").unwrap_err().to_string();
        assert!(error.contains("a.log, b.log"), "{error}");
        reset(dir.path(), &store, "a.log").unwrap();
        assert_eq!(store.load().0.keys().collect::<Vec<_>>(), ["b.log"]);
    }

    #[test]
    fn resets_nothing_while_a_shipper_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        store.save(&Record::from([("a.log".to_owned(), stream(&[1], 1))])).unwrap();
        let _running = StateLock::take(dir.path()).unwrap();
        let error = format!("{:#}", reset(dir.path(), &store, "a.log").unwrap_err());
        assert!(error.contains("in use by another shipper"), "{error}");
        assert_eq!(store.load().0.len(), 1);
    }
}
