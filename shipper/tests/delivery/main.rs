//! Delivery against a Loki in memory: `push` tests the client, `tail` the way from files to pushes. Both run on paused or
//! simulated clocks.
//!
//! The real program is tested in `run`, a real Loki in the crate `e2e`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod push;
mod receiver;
mod tail;
