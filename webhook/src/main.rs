//! `redis-log-webhook`: parses the command line, runs the command, prints the error.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match redis_log_webhook::run(redis_log_webhook::Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
