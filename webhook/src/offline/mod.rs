//! The admission without a cluster: objects from files or standard input, to what the webhook makes of them, to what
//! they were before it, or to why.
//!
//! ```text
//!          source ── documents ── yaml        files to objects; the text of each document is kept
//!                        │
//!                      pods ── redis_cluster  where in an object pods stand, and what a RedisEnterpriseCluster makes
//!            ┌───────────┼────────────┐
//!         inject      uninject     explain    pure: objects in, values out
//!            └─────┬─────┘            │
//!               render             report     as text
//! ```
//!
//! `*_command` are the three commands around that: flags in, standard output and an exit code out.

pub mod documents;
pub mod explain;
pub(crate) mod explain_command;
pub mod inject;
pub(crate) mod inject_command;
pub mod pods;
mod redis_cluster;
pub mod render;
mod report;
mod source;
pub mod uninject;
pub(crate) mod uninject_command;
mod yaml;
