//! The input of the offline commands: the flags for files and configuration, and the documents in the files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::documents::{self, Document};
use crate::config::Config;

/// The flags for the input.
#[derive(Debug, clap::Args)]
pub(crate) struct Input {
    /// A file with YAML or JSON objects; may be given more than once. Without it, or as -, standard input is read.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration, a YAML file. Without it, all defaults apply.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
}

impl Input {
    /// All documents of all files. Everything is read before anything is processed.
    pub(crate) fn documents(&self) -> anyhow::Result<Vec<Document>> {
        let input = [PathBuf::from("-")];
        documents(if self.files.is_empty() { &input } else { &self.files })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::read_or_default(self.config.as_deref())?)
    }
}

/// All documents of `files`. The file `-` is standard input.
pub(crate) fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut all = Vec::new();
    for file in files {
        let (name, text) = read(file)?;
        all.extend(documents::parse(&name, &text)?);
    }
    Ok(all)
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
