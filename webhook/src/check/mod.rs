//! Whether everything is all right, as a report: in a cluster, or in files.
//!
//! ```text
//! files ── objects and configurations in files ──────────────────┐
//! cluster                                                        │
//!   ├─ installation  registration, Deployment, certificate       ├─ audit ──► findings::Report
//!   ├─ namespaces    labels                                      │
//!   ├─ sample        a pod in a dry run                          │
//!   └─ pods          page by page ───────────────────────────────┘
//! reader     requests with a timeout; says what a person may not read
//! ```
//!
//! Nothing here changes anything.

pub(crate) mod cluster;
pub(crate) mod files;
mod installation;
mod namespaces;
mod pods;
pub(crate) mod reader;
mod sample;
pub(crate) mod scope;
