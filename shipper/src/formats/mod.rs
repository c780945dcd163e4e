//! The formats of log lines: one table row per format.
//!
//! A row parses the timestamp of a line and the level of an entry. From a partial line it parses the same timestamp as from the
//! whole line, or none. At most one row matches a line. So a timestamp depends on the line alone, and not on restarts or on the
//! edges of buffers.
//!
//! A file has the format of its last line with a timestamp. `texts` decides where entries end.

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
