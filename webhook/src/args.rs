//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{explain, inject, rbac, serve, uninject};

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
    Serve(serve::Serve),
    /// Show what the webhook would make of objects from files or standard input.
    Inject(inject::Inject),
    /// Show what injected objects from files or standard input were before.
    Uninject(uninject::Uninject),
    /// Show why pods from files or standard input would or would not be injected.
    Explain(explain::Explain),
    /// Print the YAML of the permission that the accounts of a namespace need to push, or to query.
    Rbac(rbac::Rbac),
}

/// Runs the command that `args` name; the exit code is 0, or 1 where something could not be done.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(args),
        Command::Inject(args) => inject::run(&args),
        Command::Uninject(args) => uninject::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Rbac(args) => rbac::run(args),
    }
}
