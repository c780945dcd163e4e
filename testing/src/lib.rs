//! What the tests of several crates share. No program depends on it.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod log;

pub use log::Log;
