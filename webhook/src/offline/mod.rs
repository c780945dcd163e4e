//! Admission without a cluster: reads objects from files or standard input, and injects, restores or explains them.
//!
//! ```text
//!           input ── documents ── yaml        from files to objects; each document keeps its text
//!                        │
//!                      pods ── redis_cluster  the pods in an object; the pods of a RedisEnterpriseCluster
//!            ┌───────────┼────────────┐
//!         inject      uninject     explain    pure: from objects to values
//!            └─────┬─────┘            │
//!               render             report     as text
//!                  └───── output ─────┘
//! ```
//!
//! The commands in `commands/` stand around this.

pub mod documents;
pub mod explain;
pub mod inject;
pub(crate) mod input;
pub(crate) mod output;
pub mod pods;
mod redis_cluster;
pub mod render;
pub(crate) mod report;
pub mod uninject;
mod yaml;
