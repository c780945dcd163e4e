//! `explain`: why the pods in files or on standard input would or would not be injected.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use crate::offline::documents::to_json;
use crate::offline::explain::{Explanation, explain};
use crate::offline::input::Input;
use crate::offline::output::print;
use crate::offline::pods::title;
use crate::offline::report::{self, Style};

/// The flags of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    input: Input,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// The output of `explain`.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON list with one object per pod.
    Json,
}

/// Prints every rule with its result. The exit code is 0 if every pod would be injected or is injected already.
pub(crate) fn run(args: &Explain) -> anyhow::Result<ExitCode> {
    let config = args.input.config()?;
    let (mut all, mut fine) = (Vec::new(), true);
    for document in args.input.documents()? {
        match explain(&document.object, args.input.namespace.as_deref(), &config) {
            Ok(explanations) => all.extend(explanations),
            Err(error) => {
                let name = format!("{}: {}", document.source, title(&document.object));
                eprintln!("error: {:#}", anyhow::Error::new(error).context(name));
                fine = false;
            }
        }
    }
    if all.is_empty() && fine {
        eprintln!("error: nothing to explain: no object has a pod, a pod template or Redis Enterprise nodes");
    }
    let text = match args.output {
        Form::Json => to_json(&all.iter().map(Explanation::to_json).collect())?,
        Form::Text => report::text(&all, style()),
    };
    print(&text)?;
    fine &= !all.is_empty() && all.iter().all(Explanation::is_injected);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn style() -> Style {
    // https://no-color.org: any value except the empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !no_color { Style::Colour } else { Style::Plain }
}
