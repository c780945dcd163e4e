//! The tail on real files in a temporary directory, with a simulated clock. The tests compare the visible entries with the
//! written lines.
//!
//! The kernel sends no notifications here: scans alone must find every change.

mod adjust;
mod drop;
mod links;
mod loki;
mod model;
mod reading;
mod redaction;
mod resend;
mod restart;
mod rotation;
mod truncation;
mod world;
