//! `check`: whether lines can be shipped from here, with the fix of everything that is wrong.

use std::process::ExitCode;

use findings::Output;

use super::run::RunArgs;
use super::running::with_settings;
use crate::check::{Origin, report};
use crate::pipeline::apply_runtime_config;
use crate::settings::Settings;

/// The flags of `check`: those of `run`, and how to report.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    output: Output,
}

/// Prints every check with its result. The exit code is 1 if a finding reaches the threshold.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (args, running) = with_settings(args.clone(), |args| &args.run);
    let origin = running.map_or(Origin::Own, Origin::Running);
    runtime::tls::install_crypto_provider();
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = threads.block_on(async {
        let mut settings = Settings::new(&args.run);
        if let Ok(settings) = &mut settings {
            apply_runtime_config(settings).await;
        }
        report(settings, origin).await
    });
    // A volume or a name server that does not answer must not hold up the end.
    threads.shutdown_background();
    Ok(args.output.print(&report)?)
}
