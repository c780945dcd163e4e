//! The command line: the commands. Each command's flags stand with the command.
//!
//! Every flag also reads an environment variable. Values are strings here: `settings` parses them and reports all invalid
//! values together. Only an unknown flag is an error here.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::check::{self, CheckArgs};
use crate::commands::positions::{self, PositionsArgs};
use crate::commands::preview::{self, PreviewArgs};
use crate::commands::prove::{self, ProveArgs};
use crate::commands::run::{self, RunArgs};

/// Ships Redis Enterprise's log files to Loki, losing no line and showing none twice.
#[derive(Debug, Parser)]
#[command(name = "redis-log-shipper", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the files and push their lines, until SIGTERM.
    Run(Box<RunArgs>),
    /// Print the entries of files as they would be pushed, and push nothing.
    Preview(Box<PreviewArgs>),
    /// Check whether lines can be shipped from here: files, gateway, token, permission; changes nothing.
    ///
    /// In a sidecar it needs no flags: without --loki-url it takes the arguments of the shipper that runs in the same container.
    Check(Box<CheckArgs>),
    /// Show how far each file is acknowledged, or have one shipped from its start again.
    Positions(PositionsArgs),
    /// Prove that Loki shows every acknowledged line once; needs the right to read.
    Prove(Box<ProveArgs>),
}

/// Runs the command that `args` name.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Preview(args) => preview::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Positions(args) => positions::run(&args),
        Command::Prove(args) => prove::run(&args),
    }
}
