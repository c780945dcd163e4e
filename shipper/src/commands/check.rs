//! `check`: whether lines can be shipped from here, with the fix of everything that is wrong.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::ValueEnum;
use findings::{Report, Severity};

use super::run::RunArgs;
use super::running::with_settings;
use crate::check::{Origin, report};
use crate::settings::Settings;

/// The flags of `check`: those of `run`, and how to report.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// The lowest severity of a finding that makes the exit code 1.
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    failure_threshold: Threshold,
}

/// The output of `check`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// Lines for people, one for each check.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Threshold {
    /// Worth knowing. Nothing is wrong now.
    Info,
    /// Something is not as it should be, or will fail soon.
    Warning,
    /// Lines are not shipped.
    #[default]
    Error,
}

/// Prints every check with its result. The exit code is 1 if a finding reaches the threshold.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (args, running) = with_settings(args.clone(), |args| &args.run);
    let origin = running.map_or(Origin::Own, Origin::Running);
    runtime::tls::install_crypto_provider();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = threads.block_on(report(Settings::new(&args.run), origin));
    // A volume or a name server that does not answer must not hold up the end.
    threads.shutdown_background();
    print(&report, args.output)?;
    let threshold = match args.failure_threshold {
        Threshold::Info => Severity::Info,
        Threshold::Warning => Severity::Warning,
        Threshold::Error => Severity::Error,
    };
    Ok(if report.failed(threshold) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report, form: Form) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let written = match form {
        Form::Text => report.write_text(&mut out),
        Form::Json => report.write_json(&mut out),
    };
    match written {
        // The reader closed the pipe early, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
