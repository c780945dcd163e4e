//! What concerns the cluster around the webhook.

pub mod rbac;
