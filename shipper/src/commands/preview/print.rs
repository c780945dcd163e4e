//! Entries as text with colours, or as JSON lines.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::view::{Output, View};
use crate::entries::Basis;
use crate::extract::{Entry, Skipped};
use crate::formats::{self, Format, level::Level};
use crate::input::InputFile;
use crate::labels;

/// How every mark of a redaction begins, and how it ends.
const MARK: (&str, char) = ("[redacted:", ']');

/// Prints entries.
pub(super) struct Printer<W> {
    out: W,
    output: Output,
    file: String,
    /// The name that the entries' metadata carries.
    live: String,
    labels: Vec<(String, String)>,
    /// Whether the file's header is printed.
    is_begun: bool,
    is_first: bool,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, output: Output) -> Self {
        Self {
            out,
            output,
            file: String::new(),
            live: String::new(),
            labels: Vec::new(),
            is_begun: false,
            is_first: true,
        }
    }

    fn text(&mut self, entry: &Entry<'_>, skipped: Option<Skipped>, line: &str) -> io::Result<()> {
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        if !std::mem::replace(&mut self.is_begun, true) {
            if !std::mem::take(&mut self.is_first) {
                writeln!(self.out)?;
            }
            let labels = labels::braced(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            writeln!(self.out, "{bold}==> {}{bold:#}  {dim}{labels}{dim:#}", runtime::printable(&self.file))?;
        }
        let time = time(entry.time);
        // A time that is not the line's own is dimmed.
        let style = if from(entry.basis) == "line" { Style::new() } else { dim };
        let level = style_of(entry.level);
        let word = entry.level.map_or("", Level::word);
        write!(self.out, "{style}{time}{style:#}  {level}{word:8}{level:#}")?;
        if let Some(bdb) = bdb(entry) {
            write!(self.out, "  {dim}bdb={bdb}{dim:#}")?;
        }
        if let Some(skipped) = skipped {
            let warning = AnsiColor::Yellow.on_default();
            write!(self.out, "  {warning}[not pushed: {}]{warning:#}", reason(skipped))?;
        }
        for (number, line) in line.split('\n').enumerate() {
            write!(self.out, "{}", if number == 0 { "  " } else { "\n    " })?;
            self.marked(line, entry.is_redacted)?;
        }
        writeln!(self.out)
    }

    /// A line, its redactions in colour.
    fn marked(&mut self, line: &str, is_redacted: bool) -> io::Result<()> {
        let line = runtime::printable(line);
        let mut rest = &*line;
        let mark = AnsiColor::Magenta.on_default().bold();
        while is_redacted
            && let Some((before, after)) = rest.split_once(MARK.0)
            && let Some((class, after)) = after.split_once(MARK.1)
        {
            write!(self.out, "{before}{mark}{}{class}{}{mark:#}", MARK.0, MARK.1)?;
            rest = after;
        }
        write!(self.out, "{rest}")
    }

    fn json(&mut self, entry: &Entry<'_>, skipped: Option<Skipped>, line: &str) -> io::Result<()> {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect();
        let metadata =
            [("filename", Some(self.live.as_str())), ("level", entry.level.map(Level::word)), ("bdb", bdb(entry))];
        let metadata = metadata.into_iter().filter_map(|(name, value)| Some((name, value?.into()))).collect();
        let shown = JsonEntry {
            file: &self.file,
            time: time(entry.time),
            time_from: from(entry.basis),
            labels: serde_json::Value::Object(owned(labels)),
            metadata: serde_json::Value::Object(owned(metadata)),
            line,
            format: entry.format.map(Format::name),
            redacted: entry.is_redacted,
            not_pushed: skipped.map(reason),
        };
        serde_json::to_writer(&mut self.out, &shown)?;
        writeln!(self.out)
    }
}

impl<W: Write> View for Printer<W> {
    fn begin(&mut self, file: &InputFile, labels: Vec<(String, String)>) {
        (self.file, self.live) = (file.shown.clone(), file.live.clone());
        self.labels = labels;
        self.is_begun = false;
    }

    fn entry(&mut self, entry: &Entry<'_>, skipped: Option<Skipped>) -> io::Result<()> {
        let line = String::from_utf8_lossy(entry.line);
        match self.output {
            Output::Text => self.text(entry, skipped, &line),
            Output::Json => self.json(entry, skipped, &line),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An entry as JSON.
#[derive(Debug, Serialize)]
struct JsonEntry<'a> {
    file: &'a str,
    time: String,
    time_from: &'static str,
    labels: serde_json::Value,
    metadata: serde_json::Value,
    line: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    redacted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_pushed: Option<&'static str>,
}

fn owned(pairs: Vec<(&str, serde_json::Value)>) -> serde_json::Map<String, serde_json::Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The time with all nine digits, as Loki stores it.
fn time(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(|_| nanos.to_string(), |time| format!("{time:.9}"))
}

/// What the time of an entry rests on.
fn from(basis: Basis) -> &'static str {
    match basis {
        Basis::Timestamp | Basis::Accepted => "line",
        Basis::Carried | Basis::Implausible => "entry before",
        Basis::Clock => "clock",
    }
}

fn reason(skipped: Skipped) -> &'static str {
    match skipped {
        Skipped::Dropped => "dropped by a rule",
        Skipped::TooOld => "older than --max-age",
    }
}

fn bdb<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    str::from_utf8(formats::find_bdb(entry.line)?).ok()
}

fn style_of(level: Option<Level>) -> Style {
    match level {
        Some(Level::Critical) => AnsiColor::Red.on_default().bold(),
        Some(Level::Error) => AnsiColor::Red.on_default(),
        Some(Level::Warn) => AnsiColor::Yellow.on_default(),
        Some(Level::Info) => AnsiColor::Green.on_default(),
        _ => Style::new().dimmed(),
    }
}
