//! What concerns the cluster around the webhook.

pub mod rbac;
pub(crate) mod rbac_command;
