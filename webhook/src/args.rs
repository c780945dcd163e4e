//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{check, explain, inject, rbac, rollout, serve, uninject};

/// Mutating admission webhook that gives Redis Enterprise pods a log-shipper sidecar.
#[derive(Debug, Parser)]
#[command(name = "redis-log-webhook", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer reviews of the API server over HTTPS.
    Serve(serve::Serve),
    /// Print what the webhook makes of objects from files or standard input.
    Inject(inject::Inject),
    /// Print injected objects from files or standard input as they were before.
    Uninject(uninject::Uninject),
    /// Explain why pods from files or standard input would or would not be injected.
    Explain(explain::Explain),
    /// Check a cluster, or objects in files: what is wrong, and how to fix it.
    Check(check::Check),
    /// Print the YAML of the permission to push, or to query, for accounts of a namespace.
    Rbac(rbac::Rbac),
    /// Restart the Redis Enterprise pods of a namespace that need it, one at a time.
    Rollout(rollout::Rollout),
}

/// Runs the command. The exit code is 0, or 1 if something failed.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Serve(args) => serve::run(args),
        Command::Inject(args) => inject::run(&args),
        Command::Uninject(args) => uninject::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Rbac(args) => rbac::run(args),
        Command::Rollout(args) => rollout::run(args),
    }
}
