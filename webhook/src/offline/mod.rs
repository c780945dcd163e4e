//! The admission without a cluster: objects from files or standard input, to what the webhook would make of them.
//!
//! ```text
//! text ── documents (YAML or JSON, many) ── inject ── render (yaml, json, patch, review)
//! ```

pub mod documents;
pub mod inject;
pub(crate) mod inject_command;
pub mod render;
