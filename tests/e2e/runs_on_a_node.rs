//! Our programs on a real node with a kubelet, containerd, a scheduler and kube-proxy.
//!
//! All scenarios share one node, on which the README's own commands installed the webhook. `NODE=all` also runs the slow
//! scenarios.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

mod ends;
mod installs;
mod judges;
mod kills;
mod process;
mod pulls;
mod receiver;
mod redis;
mod rotates;
mod sidecar;
mod token;
mod uninstalls;
mod unplugs;
mod webhook;
mod world;
