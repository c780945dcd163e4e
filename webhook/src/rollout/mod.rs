//! Restarts the Redis Enterprise pods of one namespace that need it, one at a time.
//!
//! ```text
//! cluster (requests) ──► member (a pod) ── trial (what a new pod would get) ── plan (restart or keep, in order)
//!     ▲                     └── health (may the next pod be restarted?)            │
//!     └────────────────────────────── runner (evict, wait, compare) ◄─────────────┘
//! ```
//!
//! [`member`], [`trial`], [`plan`] and [`health`] are pure. Nothing is remembered: the runner reads the cluster again before each
//! step, so a rollout that was interrupted goes on with the same command.

pub(crate) mod cluster;
mod health;
mod member;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod runner;
mod trial;
