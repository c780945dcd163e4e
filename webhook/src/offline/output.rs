//! The output of the offline commands: results on standard output, warnings on standard error, the exit code.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use super::documents::Document;
use super::pods::title;
use super::render::{self, Change, Output};

/// The objects themselves, in one of the forms that are not the admission's.
pub(crate) fn objects(changes: &[Change<'_>], output: Output) -> anyhow::Result<String> {
    if output == Output::Json {
        return Ok(render::json(changes)?);
    }
    if output == Output::Diff {
        return Ok(render::diffs(changes)?);
    }
    for change in changes.iter().filter(|change| render::loses_comments(change)) {
        let Document { source, object, .. } = change.document;
        eprintln!("warning: comments are lost in {} ({source})", title(object));
    }
    Ok(render::yaml(changes)?)
}

/// What became of one pod, as the exit code sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As asked, or it was so before.
    Done,
    /// Nobody meant this pod.
    NotMeant,
    /// It should have been done.
    Failed,
}

/// 0 where something was done and nothing failed, else 1.
pub(crate) fn exit_code(fates: &[Fate]) -> ExitCode {
    if fates.contains(&Fate::Done) && !fates.contains(&Fate::Failed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes results to standard output. A reader that has seen enough, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("failed to write to standard output"),
        _ => Ok(()),
    }
}
