//! `inject`: what the webhook makes of the objects in files or on standard input.

use std::process::ExitCode;

use crate::admission::Verdict;
use crate::admission::skip::Skip;
use crate::offline::documents::{Document, to_json};
use crate::offline::inject::{Outcome, inject};
use crate::offline::input::Input;
use crate::offline::output::{Fate, exit_code, objects, print};
use crate::offline::pods::title;
use crate::offline::render::{self, Change, Output};

/// The flags of `inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    input: Input,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Prints the result for every object.
pub(crate) fn run(args: &Inject) -> anyhow::Result<ExitCode> {
    let config = args.input.config()?;
    let documents = args.input.documents()?;
    let (mut fates, mut outcomes) = (Vec::new(), Vec::new());
    for document in &documents {
        let outcome = inject(&document.object, args.input.namespace.as_deref(), &config).unwrap_or_else(|error| {
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

/// Prints the result for each pod on standard error.
fn say(document: &Document, outcome: &Outcome) -> Vec<Fate> {
    let say = |pod: &crate::offline::inject::Pod| {
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

/// What a verdict means for the exit code.
fn fate(verdict: &Verdict) -> Fate {
    match verdict {
        Verdict::Injected(_) | Verdict::Skipped(Skip::AlreadyInjected) => Fate::Done,
        Verdict::Skipped(Skip::NotRedisEnterprise | Skip::OptedOut) => Fate::NotMeant,
        Verdict::Skipped(_) | Verdict::Failed(_) | Verdict::Panicked(_) => Fate::Failed,
    }
}
