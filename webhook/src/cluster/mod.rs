//! What concerns the cluster around the webhook: its API server, our certificate, and who may push.

pub(crate) mod api;
pub(crate) mod certificate;
pub(crate) mod clients;
pub mod managed_rbac;
pub mod rbac;
pub(crate) mod rbac_command;
