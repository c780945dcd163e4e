//! What the end-to-end tests and the demo stand on.
//!
//! ```text
//! servers ── process: etcd, kube-apiserver, VictoriaLogs, each started, awaited and stopped
//!    │
//!    ├─ cluster   the API server with an administrator's client
//!    ├─ controllers  who makes the pods of a StatefulSet
//!    ├─ owners    who manages pods where no controller makes any
//!    ├─ held      a client that is slow at the worst moment
//!    ├─ store     where pushes end up: loki, victoria_logs, or our own strict receiver
//!    └─ gateway   between cluster and store: who may push to which tenant, with opa, its helper
//! node            a whole node: control plane, kubelet, containerd, and images that it finds without a registry
//! manifests       what a cluster is given, rendered and applied
//! programs        our own binaries
//! installation    our webhook, as a cluster runs it
//! image ── oci    our image and others, written without a registry
//! review          what the API server asks them
//! kubelet         what a node makes of an injected pod: args, env, volumes
//! writer          log files that are filled and rotated, and what was written to them
//! ```

pub mod cluster;
pub mod controllers;
pub mod gateway;
pub mod held;
pub mod http;
pub mod image;
pub mod installation;
pub mod kubelet;
pub mod loki;
pub mod manifests;
pub mod node;
pub mod oci;
pub mod opa;
pub mod owners;
pub mod process;
pub mod programs;
pub mod receiver;
pub mod review;
pub mod servers;
pub mod store;
pub mod victoria_logs;
pub mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// One of the pods that Redis Enterprise and its look-alikes make, such as `a-vanilla`.
pub fn pod_fixture(name: &str) -> anyhow::Result<serde_json::Value> {
    read_object(&repository().join(format!("webhook/tests/golden/{name}.pod.yaml")))
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One object in a YAML file of the repository.
pub fn read_object(path: &std::path::Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(path)?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// A loopback port that is free, and stays so: not one of those that outgoing connections are given, nor one that was
/// handed out before.
pub fn free_port() -> std::io::Result<u16> {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let length = RANGE.end - RANGE.start;
    // Other test processes start elsewhere.
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(length)).unwrap_or_default();
    loop {
        let port = RANGE.start + (start + NEXT.fetch_add(1, Ordering::Relaxed) % length) % length;
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says something on standard error that the test runner must not keep to itself, as it does with a passing test's prints.
pub fn say(line: &str) {
    use std::io::Write as _;
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
