//! How `check` reports: its flags, the text or the JSON on standard output, and the exit code.

use std::io;
use std::process::ExitCode;

use crate::code::Severity;
use crate::report::Report;

/// The flags of `check` about its output.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// The form of the output.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORM")]
    form: Form,
    /// The lowest severity of a finding that makes the exit code 1.
    #[arg(long, value_enum, default_value_t = Severity::Error, value_name = "SEVERITY")]
    failure_threshold: Severity,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Form {
    /// Lines for people, one for each check.
    #[default]
    Text,
    /// JSON.
    Json,
}

impl Output {
    /// Prints `report`, with colours on a terminal. The exit code is 1 if a finding is as bad as the threshold, or worse.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written. A reader that closes the pipe early, as `head` does, is no error.
    pub fn print(self, report: &Report) -> io::Result<ExitCode> {
        let mut out = anstream::stdout().lock();
        let written = match self.form {
            Form::Text => report.write_text(&mut out),
            Form::Json => report.write_json(&mut out),
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ if report.failed(self.failure_threshold) => Ok(ExitCode::FAILURE),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;
    use crate::code::Code;
    use crate::finding::Finding;
    use crate::report::Outcome;

    fn output(flags: &[&str]) -> Output {
        let command = Output::augment_args(Command::new("check"));
        Output::from_arg_matches(&command.get_matches_from([&["check"], flags].concat())).unwrap()
    }

    #[test]
    fn exits_with_1_from_the_threshold_on() {
        let mut report = Report::default();
        report.add("x", Outcome::Found(Finding::new(Code::ClockSkew, "it is late", "set it")));
        let code = |flags: &[&str]| format!("{:?}", output(flags).print(&report).unwrap());
        assert_eq!(code(&["-o", "json"]), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(&["--failure-threshold", "warning"]), format!("{:?}", ExitCode::FAILURE));
    }
}
