//! What both programs need. What only one of them needs is not here.
//!
//! ```text
//! main ── logging ── tls ── shutdown ──┬── the process's own work
//!                                      └── admin (/live /ready /metrics)
//! ```
//!
//! - [`logging`]: log lines on standard error, as JSON or text
//! - [`tls`]: the crypto provider, and an HTTPS client
//! - [`shutdown`]: the first signal ends the process in order, the second at once
//! - [`admin`]: the port with metrics and health
//! - [`places`]: a limit for connections to a port that anybody can reach
//! - [`chain`]: an error with its causes, for the log
//! - [`printable`]: untrusted strings without control characters
//! - [`drops`]: drop rules of a user
//! - [`patterns`]: redaction rules of a user
//! - [`tree`]: a YAML document with line numbers
//! - [`words`]: settings that are one of a few words

pub mod admin;
mod chain;
pub mod drops;
pub mod logging;
pub mod patterns;
pub mod places;
mod printable;
pub mod shutdown;
pub mod tls;
pub mod tree;
pub mod words;

pub use chain::chain;
pub use printable::printable;

#[cfg(test)]
mod tests {
    #[test]
    fn modules_use_each_other_in_one_direction_only() {
        assert_eq!(testing::imports::circles(env!("CARGO_MANIFEST_DIR")), [""; 0]);
    }
}
