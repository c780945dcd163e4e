//! What both processes stand on, and nothing that only one of them needs.
//!
//! ```text
//! main ── logging ── tls ── shutdown ──┬── the process's own work
//!                                      └── admin (/live /ready /metrics)
//! ```
//!
//! - [`logging`]: one voice on standard error, as JSON or text
//! - [`tls`]: the one crypto provider, and the HTTPS client over it
//! - [`shutdown`]: a first signal asks, a second insists
//! - [`admin`]: the port on which a process tells how it is
//! - [`places`]: who may hold a connection to a port that anybody can reach
//! - [`chain`]: an error with its causes, for the log
//! - [`printable`]: names of others, as they may be shown
//! - [`words`]: settings that are one of a few words

pub mod admin;
mod chain;
pub mod logging;
pub mod places;
mod printable;
pub mod shutdown;
pub mod tls;
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
