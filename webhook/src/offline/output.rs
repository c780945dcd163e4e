//! The output of the offline commands: results on standard output, warnings on standard error, the exit code.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use super::documents::Document;
use super::pods::title;
use super::render::{self, Change, Output};

/// The objects as text, in one of the forms that both `inject` and `uninject` have.
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

/// The result for one pod, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done, or nothing to do.
    Done,
    /// The pod was not meant to be injected.
    NotMeant,
    /// Failed.
    Failed,
}

/// 0 if something was done and nothing failed, otherwise 1.
pub(crate) fn exit_code(fates: &[Fate]) -> ExitCode {
    if fates.contains(&Fate::Done) && !fates.contains(&Fate::Failed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes results to standard output. If the reader closes the pipe early, as `head` does, this is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("failed to write to standard output"),
        _ => Ok(()),
    }
}
