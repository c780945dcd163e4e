//! The demo's output: coloured on a terminal, plain in a pipe.

use std::io::{IsTerminal as _, Write as _};

/// Standard output.
#[derive(Debug)]
pub(crate) struct Terminal {
    colour: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour }
    }
}

impl Terminal {
    pub(crate) fn title(&self, text: &str) {
        self.line("");
        self.painted("1;36", text);
    }

    pub(crate) fn good(&self, text: &str) {
        self.painted("32", text);
    }

    pub(crate) fn bad(&self, text: &str) {
        self.painted("1;31", text);
    }

    #[expect(clippy::unused_self, reason = "beside its coloured siblings")]
    pub(crate) fn line(&self, text: &str) {
        // A reader that closed the pipe needs no more output.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// A unified diff. Only additions are expected.
    pub(crate) fn diff(&self, diff: &str) {
        for line in diff.lines() {
            match line.as_bytes().first() {
                Some(b'+') => self.painted("32", line),
                Some(b'-') => self.painted("31", line),
                _ => self.painted("2", line),
            }
        }
    }

    fn painted(&self, code: &str, text: &str) {
        if self.colour {
            self.line(&format!("\x1b[{code}m{text}\x1b[0m"));
        } else {
            self.line(text);
        }
    }
}
