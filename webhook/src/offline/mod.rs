//! The admission without a cluster: objects from files or standard input, to what the webhook makes of them, to what
//! they were before it, or to why.
//!
//! ```text
//!           input ── documents ── yaml        files to objects; the text of each document is kept
//!                        │
//!                      pods ── redis_cluster  where in an object pods stand, and what a RedisEnterpriseCluster makes
//!            ┌───────────┼────────────┐
//!         inject      uninject     explain    pure: objects in, values out
//!            └─────┬─────┘            │
//!               render             report     as text
//!                  └───── output ─────┘
//! ```
//!
//! The commands `inject`, `uninject` and `explain` (in `commands/`) stand around that.

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
