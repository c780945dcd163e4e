//! Secrets are replaced before an entry leaves the process: one table row a kind of secret.
//!
//! ```text
//! text of an entry ── scan ── rows ── spans ── mark ──► text without secrets ── batch
//!                      │       │                 └ `[redacted:8-15]`: the class of the length stays
//!                      │       └ keys, values, urls, tokens, blocks, commands; then own
//!                      └ one pass for a few literals; nothing else costs anything
//! ```
//!
//! The result depends on the bytes of the file, the settings and the position record alone: a resend is redacted as the
//! first attempt was. What a text leaves open for the next one (a secret that the line limit cut, a PEM block that goes on)
//! is [`Carried`], a part of that record. It is no parser of logs: what no rule knows stays.

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

/// How many bytes before a text that was cut are looked at: the longest key with its sign fits.
pub(crate) const BEFORE: usize = 64;

/// What is redacted.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Whether anything is.
    pub on: bool,
    /// Rules besides those of the table.
    pub own: Vec<OwnRule>,
}

impl Default for Redaction {
    /// What the command line says where nothing is said.
    fn default() -> Self {
        Self { on: true, own: Vec::new() }
    }
}
