//! What the end-to-end tests and the demo stand on.
//!
//! ```text
//! servers ── process: etcd, kube-apiserver, Loki, each started, awaited and stopped
//!    │
//!    ├─ cluster   the API server with an administrator's client
//!    ├─ loki      the store, and LogQL
//!    └─ gateway   between the two: who may push to which tenant
//! manifests       what a cluster is given, rendered and applied
//! programs        our own binaries
//! review          what the API server asks them
//! kubelet         what a node makes of an injected pod: args, env, volumes
//! writer          log files that are filled and rotated, and what was written to them
//! ```

pub mod cluster;
pub mod gateway;
pub mod http;
pub mod kubelet;
pub mod loki;
pub mod manifests;
pub mod process;
pub mod programs;
pub mod review;
pub mod servers;
pub mod writer;

use std::path::PathBuf;

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

/// A loopback port that was free a moment ago.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Says something on standard error that the test runner must not keep to itself, as it does with a passing test's prints.
pub fn say(line: &str) {
    use std::io::Write as _;
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
