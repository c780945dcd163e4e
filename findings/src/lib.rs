//! What can be wrong, one stable code each, with its cause and its fix.
//!
//! Both programs use this table. The same finding has the same words in `check`, in the log, in `/status`, in Events and in
//! docs/troubleshooting.md, and the same code in metrics and alerts.
//!
//! ```text
//! code (number, severity) ── table (title, cause, fix in general) ──► docs/troubleshooting.md
//!   └──► Finding: the problem and the fix with the names filled in ──► check, log, /status, Events
//!         └──► Report: groups of checks, as text or JSON ── Output ──► check
//! ```

mod code;
mod finding;
mod output;
mod report;
mod table;

pub use code::{Code, Severity};
pub use finding::Finding;
pub use output::Output;
pub use report::{Check, Group, Outcome, Report};
pub use table::{ALL, Row};

#[cfg(test)]
mod tests {
    #[test]
    fn modules_use_each_other_in_one_direction_only() {
        assert_eq!(testing::imports::circles(env!("CARGO_MANIFEST_DIR")), [""; 0]);
    }
}
