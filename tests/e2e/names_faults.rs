//! Each fault of docs/diagnosis.md is made for real, and the programs name it by its code within a minute.
//!
//! `cargo test -p e2e --test e2e names_faults -- --nocapture` prints how long each took. The page has these numbers, copied by
//! hand. Other modules make the faults of the cluster; the page names every test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

mod limits;
mod page;
mod permissions;
mod sidecar;

use std::time::{Duration, Instant};

/// Everybody who is stuck is told within this time.
const GOAL: Duration = Duration::from_mins(1);

/// A fault that was just made.
struct Made {
    fault: &'static str,
    at: Instant,
}

impl Made {
    fn now(fault: &'static str) -> Self {
        Self { fault, at: Instant::now() }
    }

    /// It was named by its code.
    fn is_named(&self, code: &str, by: &str) {
        harness::say(&format!("{code} {}: {by} after {:.1} s", self.fault, self.at.elapsed().as_secs_f32()));
    }
}
