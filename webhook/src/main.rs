//! `redis-log-webhook`: parse, run, tell.

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
