//! What concerns the cluster around the webhook: its API server, our certificate, who may push, and what bears on new pods.

pub(crate) mod api;
pub mod knowledge;
mod limit_ranges;
pub mod managed_rbac;
mod pods;
pub mod rbac;
mod refusals;
pub(crate) mod step_aside;
mod watching;
