//! The client against a Loki in memory that answers as it is told: nothing is acknowledged that is not stored, nothing is
//! dropped but what nobody takes. The clock is paused: an hour passes in a moment.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acknowledges;
mod as_a_whole;
mod breaking_off;
mod drops_nothing;
mod goes_on;
mod holds;
#[path = "../receiver/mod.rs"]
mod receiver;
mod resends;
mod splits;
mod world;
