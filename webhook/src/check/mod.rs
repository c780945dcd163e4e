//! Whether everything is all right, as a report: in a cluster, or in files.
//!
//! ```text
//! files ── objects and configurations in files ──────────────────┐
//! cluster                                                        │
//!   ├─ installation  registration, Deployment, certificate       ├─ audit ──► findings::Report
//!   ├─ namespaces    labels                                      │
//!   ├─ sample        a pod in a dry run                          │
//!   ├─ pods          page by page                                │
//!   └─ pushes        who may push, and /status of the sidecars ──┘
//! pre        before an installation: versions and permissions
//! reader     requests with a timeout; says what a person may not read
//! ```
//!
//! Nothing here changes anything.

pub(crate) mod cluster;
pub(crate) mod files;
mod installation;
mod namespaces;
mod pods;
pub(crate) mod pre;
mod pushes;
pub(crate) mod reader;
mod sample;
pub(crate) mod scope;
