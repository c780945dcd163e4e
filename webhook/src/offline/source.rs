//! What the three commands share around their work: the flags that say what is read, standard output, the exit code.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::documents::{self, Document};
use crate::config::Config;

/// What is read, and with which configuration it is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// A file with objects, YAML or JSON; may be given more than once. Standard input for -, and without it.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration, a YAML file; without it all defaults hold.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NS")]
    pub(super) namespace: Option<String>,
}

impl Source {
    /// All documents of all files. Nothing is worked on before everything could be read.
    pub(super) fn documents(&self) -> anyhow::Result<Vec<Document>> {
        let input = [PathBuf::from("-")];
        let files: &[PathBuf] = if self.files.is_empty() { &input } else { &self.files };
        let mut all = Vec::new();
        for file in files {
            let (name, text) = read(file)?;
            all.extend(documents::parse(&name, &text)?);
        }
        Ok(all)
    }

    /// The configuration.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::read_or_default(self.config.as_deref())?)
    }
}

/// What became of one pod, as the exit code sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// As asked, or it was so before.
    Done,
    /// Nobody meant this pod.
    NotMeant,
    /// It should have been done.
    Failed,
}

/// 0 where something was done and nothing failed, else 1.
pub(super) fn exit_code(fates: &[Fate]) -> ExitCode {
    if fates.contains(&Fate::Done) && !fates.contains(&Fate::Failed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes results to standard output. A reader that has seen enough, such as `head`, is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("failed to write to standard output"),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {name}"))?;
    Ok((name, text))
}
