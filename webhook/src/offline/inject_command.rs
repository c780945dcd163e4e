//! `inject`: objects from files or standard input to what the webhook would make of them.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::documents;
use super::inject::{Outcome, inject, title};
use super::render::{Output, render};
use crate::admission::Verdict;
use crate::config::Config;

/// The flags of `inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inject {
    /// A file with objects; may be given more than once. Standard input without it.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// The configuration, a YAML file; without it all defaults hold.
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
}

/// Prints what becomes of every object.
pub(crate) fn run(args: &Inject) -> anyhow::Result<ExitCode> {
    let config = Config::read_or_default(args.config.as_deref())?;
    let mut code = ExitCode::SUCCESS;
    let mut texts = Vec::new();
    for text in read_inputs(&args.files)? {
        for document in documents::parse(&text.0, &text.1)? {
            let name = title(&document);
            match inject(document.clone(), args.namespace.as_deref(), &config) {
                Ok(outcome) => {
                    if !say(&name, &outcome) {
                        code = ExitCode::FAILURE;
                    }
                    texts.push(render(&document, &outcome, args.output)?);
                }
                Err(error) => {
                    eprintln!("{:#}", anyhow::Error::new(error).context(name));
                    code = ExitCode::FAILURE;
                    texts.push(if args.output == Output::Json {
                        serde_json::to_string_pretty(&document)? + "\n"
                    } else {
                        documents::to_yaml(&document)?
                    });
                }
            }
        }
    }
    let separator = if args.output == Output::Yaml { "---\n" } else { "" };
    std::io::stdout().lock().write_all(texts.join(separator).as_bytes())?;
    Ok(code)
}

/// Tells what became of each pod on standard error; whether all of them are injected, or were before.
fn say(name: &str, outcome: &Outcome) -> bool {
    let mut fine = true;
    for (pointer, judged) in &outcome.pods {
        for warning in &judged.warnings {
            eprintln!("{name}{pointer}: warning: {warning}");
        }
        match &judged.verdict {
            Verdict::Injected { .. } => eprintln!("{name}{pointer}: injected"),
            Verdict::Skipped(skip) => {
                eprintln!("{name}{pointer}: not injected: {}", skip.reason());
                fine &= *skip == crate::admission::decision::Skip::AlreadyInjected;
            }
            Verdict::Failed(error) | Verdict::Panicked(error) => {
                eprintln!("{name}{pointer}: not injected: {error}");
                fine = false;
            }
        }
    }
    fine
}

/// The texts to work on, each with the name that errors call it by.
fn read_inputs(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    files
        .iter()
        .map(|path| {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
            Ok((name, text))
        })
        .collect()
}
