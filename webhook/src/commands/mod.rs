//! The commands, each with its own flags. A command reads its input, calls the code that does the work, and prints the
//! result.

pub(crate) mod check;
mod connection;
pub(crate) mod explain;
pub(crate) mod inject;
pub(crate) mod rbac;
pub(crate) mod rollout;
pub(crate) mod serve;
pub(crate) mod uninject;
