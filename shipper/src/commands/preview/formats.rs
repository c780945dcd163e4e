//! Which format each file was taken for, and how many entries have no timestamp of their own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::view::{Output, View};
use crate::extract::{Entry, Skipped};
use crate::input::InputFile;

/// One file.
#[derive(Debug, Default, Serialize)]
struct Row {
    file: String,
    /// The number of entries whose first line has this format.
    formats: BTreeMap<&'static str, u64>,
    lines: u64,
    entries: u64,
    /// Lines that continue an entry.
    joined: u64,
    /// Entries without a timestamp.
    untimed: u64,
}

/// Counts by file.
pub(super) struct Formats<W> {
    out: W,
    output: Output,
    rows: Vec<Row>,
}

impl<W: Write> Formats<W> {
    pub(super) fn new(out: W, output: Output) -> Self {
        Self { out, output, rows: Vec::new() }
    }

    fn table(&mut self) -> io::Result<()> {
        let cells = |row: &Row| {
            let mut formats: Vec<_> = row.formats.iter().collect();
            formats.sort_by_key(|(_, entries)| std::cmp::Reverse(**entries));
            let formats = match formats.as_slice() {
                [] => "none".to_owned(),
                [(name, _)] => (**name).to_owned(),
                formats => formats.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", "),
            };
            let file = runtime::printable(&row.file).into_owned();
            [file, formats, row.lines.to_string(), row.entries.to_string(), row.untimed.to_string()]
        };
        let head = ["FILE", "FORMAT", "LINES", "ENTRIES", "WITHOUT TIMESTAMP"].map(ToOwned::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.rows.drain(..).map(|row| cells(&row))).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let (file_width, format_width, lines_width, entries_width) = (width(0), width(1), width(2), width(3));
        for [file, format, lines, entries, untimed] in &rows {
            writeln!(
                self.out,
                "{file:file_width$}  {format:format_width$}  {lines:>lines_width$}  {entries:>entries_width$}  {untimed}"
            )?;
        }
        Ok(())
    }
}

impl<W: Write> View for Formats<W> {
    fn begin(&mut self, file: &InputFile, _labels: Vec<(String, String)>) {
        self.rows.push(Row { file: file.shown.clone(), ..Row::default() });
    }

    fn entry(&mut self, entry: &Entry<'_>, _skipped: Option<Skipped>) -> io::Result<()> {
        let Some(row) = self.rows.last_mut() else { return Ok(()) };
        let joined = memchr::memchr_iter(b'\n', entry.line).count() as u64;
        row.entries += 1;
        row.joined += joined;
        row.lines += 1 + joined;
        match entry.format {
            Some(format) => *row.formats.entry(format.name()).or_default() += 1,
            None => row.untimed += 1,
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.output == Output::Json {
            for row in self.rows.drain(..) {
                serde_json::to_writer(&mut self.out, &row)?;
                writeln!(self.out)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.output == Output::Text && !self.rows.is_empty() {
            self.table()?;
        }
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
