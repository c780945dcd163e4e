//! The tail on real files in a temporary directory, with a clock of its own: what comes out is compared with what was
//! written.
//!
//! Nothing here is told by the kernel that a file has changed: the poll alone must find it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod links;
mod loki;
mod model;
mod reading;
#[path = "../receiver/mod.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod receiver;
mod resend;
mod restart;
mod rotation;
mod truncation;
mod world;
