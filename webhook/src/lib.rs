//! The mutating admission webhook: gives Redis Enterprise pods a log-shipper sidecar, and never makes a pod fail.
//!
//! ```text
//! bytes ── review ── request ── decision ── additions ── patch ── response      admission/, pure
//!   ▲                                                                  │
//!   │                                          offline (inject, ...) ◄─┤
//!   └── server (HTTPS, /mutate) ── bodies, connections                 └─► events (for the pod's owner)
//!        ▲
//!        commands/serve wires it with config (reloaded), certificates, metrics and cluster
//! ```
//!
//! [`admission`] takes values and returns values. [`server`] and [`offline`] are the two shells around it.
//!
//! For a person at a terminal, `check` reads a cluster or files, `audit` (pure) turns them into findings, and `rollout` restarts
//! pods that lack the sidecar.

pub mod admission;
pub mod args;
mod audit;
mod bodies;
mod check;
pub mod cluster;
mod commands;
pub mod config;
pub mod connections;
pub mod events;
pub mod metrics;
pub mod offline;
mod rollout;
pub mod server;

pub use args::{Args, run};

#[cfg(test)]
mod tests {
    #[test]
    fn modules_use_each_other_in_one_direction_only() {
        assert_eq!(testing::imports::circles(env!("CARGO_MANIFEST_DIR")), [""; 0]);
    }
}
