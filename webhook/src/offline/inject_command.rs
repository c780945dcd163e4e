//! `inject`: objects from files or standard input to what the webhook would make of them.

use std::process::ExitCode;

use super::documents::{Document, to_json};
use super::inject::{Outcome, inject};
use super::pods::title;
use super::render::{self, Change, Output};
use super::source::{Fate, Source, exit_code, print};
use crate::admission::Verdict;
use crate::admission::decision::Skip;

/// The flags of `inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    source: Source,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Prints what becomes of every object.
pub(crate) fn run(args: &Inject) -> anyhow::Result<ExitCode> {
    let config = args.source.config()?;
    let documents = args.source.documents()?;
    let (mut fates, mut outcomes) = (Vec::new(), Vec::new());
    for document in &documents {
        let outcome = inject(&document.object, args.source.namespace.as_deref(), &config).unwrap_or_else(|error| {
            let name = title(&document.object);
            eprintln!("error: {:#}", anyhow::Error::new(error).context(format!("{}: {name}", document.source)));
            fates.push(Fate::Failed);
            Outcome { object: document.object.clone(), pods: Vec::new(), answer: None }
        });
        fates.extend(say(document, &outcome));
        outcomes.push(outcome);
    }
    if fates.is_empty() {
        eprintln!("error: nothing to inject: no object has a pod, a pod template or Redis Enterprise nodes");
    }
    print(&rendered(&documents, outcomes, args.output)?)?;
    Ok(exit_code(&fates))
}

fn rendered(documents: &[Document], outcomes: Vec<Outcome>, output: Output) -> anyhow::Result<String> {
    match output {
        Output::Patch => {
            Ok(outcomes.iter().map(|outcome| to_json(&render::patch(outcome))).collect::<Result<_, _>>()?)
        }
        Output::Review => {
            let asked = outcomes.iter().filter(|outcome| !outcome.pods.is_empty());
            Ok(asked.map(|outcome| to_json(&render::review(outcome))).collect::<Result<_, _>>()?)
        }
        Output::Yaml | Output::Json | Output::Diff => {
            let changes: Vec<_> = documents
                .iter()
                .zip(outcomes)
                .map(|(document, outcome)| Change {
                    document,
                    after: Some(outcome.object).filter(|after| *after != document.object),
                })
                .collect();
            objects(&changes, output)
        }
    }
}

/// The objects themselves, in one of the forms that are not the admission's.
pub(super) fn objects(changes: &[Change<'_>], output: Output) -> anyhow::Result<String> {
    if output == Output::Json {
        return Ok(render::json(changes)?);
    }
    if output == Output::Diff {
        return Ok(render::diffs(changes)?);
    }
    for change in changes.iter().filter(|change| render::loses_comments(change)) {
        let Document { source, object, .. } = change.document;
        eprintln!("warning: comments are not kept in {} ({source})", title(object));
    }
    Ok(render::yaml(changes)?)
}

/// Tells what became of each pod on standard error.
fn say(document: &Document, outcome: &Outcome) -> Vec<Fate> {
    let say = |pod: &super::inject::Pod| {
        let name = format!("{}: {}", document.source, pod.title);
        for warning in &pod.judged.warnings {
            eprintln!("{name}: warning: {warning}");
        }
        match &pod.judged.verdict {
            Verdict::Injected(_) => eprintln!("{name}: injected"),
            Verdict::Skipped(skip) => eprintln!("{name}: not injected: {}", skip.reason()),
            Verdict::Failed(error) | Verdict::Panicked(error) => eprintln!("{name}: not injected: {error}"),
        }
        fate(&pod.judged.verdict)
    };
    outcome.pods.iter().map(say).collect()
}

/// What the exit code makes of a verdict.
pub(super) fn fate(verdict: &Verdict) -> Fate {
    match verdict {
        Verdict::Injected(_) | Verdict::Skipped(Skip::AlreadyInjected) => Fate::Done,
        Verdict::Skipped(Skip::NotRedisEnterprise | Skip::OptedOut) => Fate::NotMeant,
        Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => Fate::Failed,
    }
}
