//! Complete files that a person names: a directory, files, standard input, a support package. Each is read once, from its start to
//! its end.
//!
//! ```text
//! paths ── files ─────────────┐   in order: of one log file the oldest rotated file first
//! directory, package ── source ── survey ── reading ──► entries
//! ```
//!
//! Nothing here follows a file that grows, and nothing keeps positions: the tail does.

mod files;
mod package;
mod reading;
mod source;
mod survey;

pub(crate) use files::{InputFile, list};
pub(crate) use reading::{OpenFile, Series, Step, Tools};
pub(crate) use source::{Source, SourceError};
pub(crate) use survey::{StreamPlan, Survey};
