//! Replaces secrets before an entry leaves the process. Each kind of secret is one row of a table.
//!
//! ```text
//! text of an entry ── scan ── rows ── spans ── mark ──► text without secrets ── batch
//!                      │       │                 └ `[redacted:8-15]`: keeps the class of the length
//!                      │       └ keys, values, urls, tokens, blocks, commands; then own
//!                      └ one pass for a few literals; a text without one costs nothing more
//! ```
//!
//! The result depends on the bytes of the file, the settings and the position record alone, so a resend is redacted like the
//! first push. A text may leave a secret open for the next text: the line limit cut it, or a PEM block goes on. [`Carried`]
//! describes that, and is part of the position record. This is no parser of logs: a secret that no rule knows stays.

mod blocks;
mod carried;
mod commands;
mod keys;
mod mark;
mod own;
mod redactor;
mod rule;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod urls;
mod values;
mod window;
mod words;

pub use carried::{Carried, End, Form, Open, Quote};
pub use own::OwnRule;
pub(crate) use redactor::{Redactor, Text};
pub use rule::Rule;
pub(crate) use scan::Scan;

/// After a cut, the rules also read this many bytes before the text. The longest key with its sign fits.
pub(crate) const BEFORE: usize = 64;

/// Which secrets are redacted.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Whether secrets are redacted at all.
    pub on: bool,
    /// The user's rules, in addition to the table.
    pub own: Vec<OwnRule>,
}

impl Default for Redaction {
    /// The defaults of the command line.
    fn default() -> Self {
        Self { on: true, own: Vec::new() }
    }
}
