//! Test support for several crates. No program depends on it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod imports;
mod log;

pub use log::Log;
