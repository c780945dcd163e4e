//! Everything that needs the API server: what the webhook knows about new pods (`knowledge`, with the watches that update
//! it) and who may push (`access`, `asking`, `rbac`, `managed_rbac`).

pub mod access;
pub(crate) mod api;
pub mod asking;
pub mod auditor;
pub mod knowledge;
pub mod lease;
pub(crate) mod limit_ranges;
pub mod managed_rbac;
pub(crate) mod pods;
pub mod rbac;
mod refusals;
pub(crate) mod step_aside;
mod watching;
