//! What concerns the cluster around the webhook.

pub(crate) mod api;
pub mod rbac;
pub(crate) mod rbac_command;
