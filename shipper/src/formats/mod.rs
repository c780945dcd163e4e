//! How programs write their lines: one table row a format.
//!
//! A row reads the timestamp that a line begins with and the level of an entry. What it reads from the beginning of a line it
//! reads from every line that begins like that, and at most one row fits a line. So a timestamp depends on nothing but the
//! line, wherever a restart or the edge of a buffer lies.
//!
//! A file has the format of its last line with a timestamp. Nothing here decides where entries end: `texts` does.

mod ansi;
mod bdb;
mod crash_report;
mod fields;
pub mod level;
mod parse;
mod reader;
mod stamp;
mod table;

pub(crate) use ansi::{ESCAPE, sequence};
pub(crate) use bdb::{MAX_DIGITS as MAX_BDB_DIGITS, find as find_bdb};
pub use crash_report::CrashReport;
pub(crate) use crash_report::{Place, place};
pub use reader::{Reference, TimeReader, Timestamp};
pub use table::Format;
pub(crate) use table::by_name;
