//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster::rbac_command::{self, Rbac};
use crate::offline::explain_command::{self, Explain};
use crate::offline::inject_command::{self, Inject};
use crate::offline::uninject_command::{self, Uninject};
use crate::serve::{self, Serve};

/// Mutating admission webhook that gives Redis Enterprise pods a log-shipper sidecar.
#[derive(Debug, Parser)]
#[command(name = "redis-log-webhook", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the API server over HTTPS.
    Serve(Serve),
    /// Show what the webhook would make of objects from files or standard input.
    Inject(Inject),
    /// Show what injected objects from files or standard input were before.
    Uninject(Uninject),
    /// Show why pods from files or standard input would or would not be injected.
    Explain(Explain),
    /// Print the YAML of the permission that the accounts of a namespace need to push, or to query.
    Rbac(Rbac),
}

/// Runs the command that `args` name; the exit code is 0, or 1 where something could not be done.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(args),
        Command::Inject(args) => inject_command::run(&args),
        Command::Uninject(args) => uninject_command::run(&args),
        Command::Explain(args) => explain_command::run(&args),
        Command::Rbac(args) => rbac_command::run(args),
    }
}
