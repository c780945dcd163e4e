//! Complete files that a person names: a directory, files, standard input. Each is read once, from its start to its end.
//!
//! ```text
//! paths ── files ── in order: of one log file the oldest rotated file first ── reading ──► entries
//! ```
//!
//! Nothing here follows a file that grows, and nothing keeps positions: the tail does.

mod files;
mod reading;

pub(crate) use files::{InputFile, list};
pub(crate) use reading::{OpenFile, Series, Step, Tools};
