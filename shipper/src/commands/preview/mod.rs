//! `preview`: prints the entries of files as they would be pushed. It pushes nothing and writes no position.
//!
//! The files go through the same stages as in `run`. Only the end differs: entries are printed in place of being batched.

mod formats;
mod print;
mod view;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use prometheus_client::metrics::counter::Counter;

use super::run::RunArgs;
use crate::drop::Drops;
use crate::input::{self, InputFile, OpenFile, Series, Step, Tools};
use crate::labels;
use crate::metrics::Handed;
use crate::redaction::Redactor;
use crate::settings::ReadSettings;
use formats::Formats;
use print::Printer;
use view::{Limited, Output, View};

/// The exit code of a command line that cannot be used, clap's own.
const USAGE: u8 = 2;

/// The flags of `preview`: those of `run`, so that the arguments of a sidecar show what it pushes.
#[derive(Clone, Debug, clap::Args)]
pub struct PreviewArgs {
    /// Directories or files to read, or - for standard input; compressed files are decompressed. [default: the log directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How entries are printed.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    /// Print one line for each file in place of its entries: its format, and how many entries have no timestamp.
    #[arg(long)]
    pub formats: bool,
    /// End after so many entries.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// The name of the file that standard input is the content of; its label `log_file` follows from it.
    #[arg(long, value_name = "NAME", default_value = "stdin.log")]
    pub stdin_name: String,
    /// The flags of `run`. Those that have to do with pushing change nothing here, nor does `--runtime-config`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Runs the command.
pub(crate) fn run(args: &PreviewArgs) -> anyhow::Result<ExitCode> {
    let settings = match ReadSettings::new(&args.run) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let files = input::list(&args.paths, &settings.discovery, &args.stdin_name)
        .with_context(|| format!("failed to read the log directory {}", settings.discovery.dir().display()))?;
    let out = std::io::BufWriter::new(anstream::stdout());
    let ended = if args.formats {
        show(&settings, files, args.limit, Formats::new(out, args.output))
    } else {
        show(&settings, files, args.limit, Printer::new(out, args.output))
    };
    match ended {
        Ok(shown) => {
            eprint!("{shown}");
            Ok(if shown.unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        // Whoever reads the output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("failed to write to standard output"),
    }
}

/// What was shown, as the summary says it.
#[derive(Debug, Default)]
struct Shown {
    files: usize,
    unreadable: usize,
    handed: Handed,
    /// By rule, in the order of the table.
    redactions: Vec<(String, Counter)>,
}

impl Shown {
    fn cannot_read(&mut self, file: &InputFile, error: &std::io::Error) {
        eprintln!("warning: failed to read {}: {error}", runtime::printable(&file.shown));
        self.unreadable += 1;
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Handed { entries, dropped, old, cut, replaced, disbelieved, .. } = self.handed;
        write!(f, "{entries} entries of {} files would be pushed", self.files)?;
        for (count, what) in [
            (dropped, "are dropped by rules"),
            (old, "older than --max-age are skipped"),
            (cut, "lines are cut at --max-line"),
            (replaced, "have invalid UTF-8"),
            (disbelieved, "have a timestamp far ahead of the clock"),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        let rules: Vec<_> = self.redactions.iter().map(|(rule, count)| (rule, count.get())).collect();
        let total: u64 = rules.iter().map(|(_, count)| count).sum();
        if total > 0 {
            let rules: Vec<_> =
                rules.iter().filter(|(_, count)| *count > 0).map(|(rule, count)| format!("{rule} {count}")).collect();
            write!(f, "; secrets redacted: {total} ({})", rules.join(", "))?;
        }
        writeln!(f)
    }
}

/// Shows the entries of the files.
fn show<V: View>(
    settings: &ReadSettings,
    files: Vec<InputFile>,
    limit: Option<u64>,
    view: V,
) -> std::io::Result<Shown> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let mut shown = Shown::default();
    let redactions = RefCell::new(Vec::new());
    let counter = |rule: &str| {
        let counter = Counter::default();
        redactions.borrow_mut().push((rule.to_owned(), counter.clone()));
        counter
    };
    let mut redactor = Redactor::new(&settings.tail.redaction, settings.tail.max_line, counter);
    let drops = Drops::new(&settings.tail.drop, |_| Counter::default());
    let mut limited = Limited::new(view, limit);
    let mut series: Option<(String, Series)> = None;
    for file in files {
        if limited.left == 0 {
            break;
        }
        let (source, modified) = match file.open() {
            Ok(opened) => opened,
            Err(error) => {
                limited.view.flush()?;
                shown.cannot_read(&file, &error);
                continue;
            }
        };
        if series.as_ref().is_none_or(|(live, _)| *live != file.live) {
            series = Some((file.live.clone(), Series::new(settings.tail.zone.clone())));
        }
        let Some((live, series)) = &mut series else { continue };
        shown.files += 1;
        limited.view.begin(&file, settings.tail.labels.pairs(labels::stem(live)));
        let of_file = drops.of(live);
        let mut open = OpenFile::new(source, settings.tail.chunk_bytes(), now, modified);
        if file.is_stdin() {
            open = open.live();
        }
        loop {
            if file.is_stdin() {
                // The next line may come much later.
                limited.view.flush()?;
            }
            let tools = Tools { redactor: &mut redactor, drops: &of_file, handed: &mut shown.handed };
            match open.step(series, settings.tail.entry_limits(), tools, &mut limited) {
                Ok(Step::More) => {}
                Ok(Step::Full | Step::Ended) => break,
                Err(error) => {
                    limited.view.flush()?;
                    shown.cannot_read(&file, &error);
                    break;
                }
            }
        }
        if let Some(error) = limited.failed.take() {
            return Err(error);
        }
        limited.view.end()?;
    }
    limited.view.finish()?;
    drop(redactor);
    shown.redactions = redactions.into_inner();
    Ok(shown)
}

#[cfg(test)]
mod tests;
