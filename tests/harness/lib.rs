//! Support for the end-to-end tests, the demo and the load test.
//!
//! ```text
//! servers ── process: starts, awaits and stops etcd, kube-apiserver, VictoriaLogs
//!    │
//!    ├─ cluster   the API server with an administrator's client
//!    ├─ controllers  create the pods of a StatefulSet
//!    ├─ owners    own pods on an API server without controllers
//!    ├─ held      a client that is slow at the worst moment
//!    ├─ store     receives pushes: loki, victoria_logs, or our own strict receiver
//!    └─ gateway   decides between cluster and store who may push to which tenant, with opa, its helper
//! node            a whole node: control plane, kubelet, containerd, and images without a registry
//! manifests       rendered and applied as for a cluster
//! programs        our own programs
//! installation    our webhook, as a cluster runs it
//! image ── oci    our image and others, written without a registry
//! review          the question of an API server to a webhook
//! kubelet         starts an injected container: args, env, volumes
//! writer          fills and rotates log files, and records every line
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

/// A pod of Redis Enterprise, or one that resembles it, such as `a-vanilla`.
pub fn pod_fixture(name: &str) -> anyhow::Result<serde_json::Value> {
    read_object(&repository().join(format!("webhook/tests/golden/{name}.pod.yaml")))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads the one object of a YAML file.
pub fn read_object(path: &std::path::Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(path)?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// A free loopback port that stays free: it is outside the range of outgoing connections, and is handed out once.
pub fn free_port() -> std::io::Result<u16> {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let length = RANGE.end - RANGE.start;
    // Other test processes start at another port.
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

/// Prints a line on standard error. The test runner hides what a passing test prints by macro, but not this.
pub fn say(line: &str) {
    use std::io::Write as _;
    // A closed standard error cannot be reported.
    let _ = writeln!(std::io::stderr(), "{line}");
}
