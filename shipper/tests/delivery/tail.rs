//! The tail on real files in a temporary directory, with a clock of its own: what comes out is compared with what was
//! written.
//!
//! Nothing here is told by the kernel that a file has changed: the poll alone must find it.

mod links;
mod loki;
mod model;
mod reading;
mod resend;
mod restart;
mod rotation;
mod truncation;
mod world;
