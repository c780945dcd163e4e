//! `uninject`: restores the injected objects in files or on standard input.

use std::process::ExitCode;

use crate::admission::skip::Skip;
use crate::admission::{self, Verdict};
use crate::config::Config;
use crate::offline::documents::to_json;
use crate::offline::input::Input;
use crate::offline::output::{Fate, exit_code, objects, print};
use crate::offline::render::{self, Change, Output};
use crate::offline::uninject::{Pod, uninject};

/// The flags of `uninject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Uninject {
    #[command(flatten)]
    input: Input,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// The output of `uninject`.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Form {
    /// The object without the sidecar, as YAML.
    #[default]
    Yaml,
    /// The object without the sidecar, as JSON.
    Json,
    /// The JSON patch (RFC 6902) of each object as a list of operations, for `kubectl patch --type=json`; empty if nothing
    /// changes.
    Patch,
    /// The changes, line by line.
    Diff,
}

/// Prints every object as it was before.
pub(crate) fn run(args: &Uninject) -> anyhow::Result<ExitCode> {
    let config = args.input.config()?;
    let documents = args.input.documents()?;
    let (mut fates, mut changes, mut patches) = (Vec::new(), Vec::new(), Vec::new());
    for document in &documents {
        let restored = uninject(&document.object);
        for pod in &restored.pods {
            let name = format!("{}: {}", document.source, pod.title);
            match &pod.outcome {
                Ok(_) => eprintln!("{name}: uninjected"),
                Err(reason) => eprintln!("{name}: not injected: {reason}"),
            }
            fates.push(fate(pod, args.input.namespace.as_deref(), &config));
        }
        patches.push(render::removals(&restored));
        changes.push(Change { document, after: Some(restored.object).filter(|after| *after != document.object) });
    }
    if fates.is_empty() {
        eprintln!("error: nothing to uninject: no object has a pod, a pod template or Redis Enterprise nodes");
    }
    let text = match args.output {
        Form::Yaml => objects(&changes, Output::Yaml)?,
        Form::Json => objects(&changes, Output::Json)?,
        Form::Diff => objects(&changes, Output::Diff)?,
        Form::Patch => patches.iter().map(to_json).collect::<Result<_, _>>()?,
    };
    print(&text)?;
    Ok(exit_code(&fates))
}

/// A pod that is not Redis Enterprise's was never meant to be injected, so it is no failure if it has no sidecar.
fn fate(pod: &Pod, namespace: Option<&str>, config: &Config) -> Fate {
    if pod.outcome.is_ok() {
        return Fate::Done;
    }
    match admission::judge(&pod.pod, namespace, config).verdict {
        Verdict::Skipped(Skip::NotRedisEnterprise) => Fate::NotMeant,
        _ => Fate::Failed,
    }
}
