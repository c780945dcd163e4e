//! `redis-log-shipper`: parses the command line, runs the command, and prints its error.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match redis_log_shipper::run(redis_log_shipper::Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
