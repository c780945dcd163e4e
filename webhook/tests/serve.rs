//! The process: its start, its log, and its shutdown.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a JSON value without the member is null")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use certs::Authority;
use serde_json::Value;

fn serve(dir: &Path, config: &str) -> Command {
    std::fs::write(dir.join("config.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-log-webhook"));
    command
        .arg("serve")
        .args(["--cert-dir".as_ref(), dir.as_os_str(), "--config".as_ref(), dir.join("config.yaml").as_os_str()])
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--shutdown-delay=2"])
        .env("KUBECONFIG", dir.join("no-kubeconfig"))
        .stderr(Stdio::piped());
    command
}

/// A process that is killed when its test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Creates a certificate for localhost.
fn certificate(dir: &Path) {
    let ca = Authority::new("test", Duration::from_hours(1)).unwrap();
    let pair = ca.serving(&["localhost"], Duration::from_hours(1)).unwrap();
    std::fs::write(dir.join(certs::CERT_FILE), pair.cert).unwrap();
    std::fs::write(dir.join(certs::KEY_FILE), pair.key).unwrap();
}

/// Reads log lines up to the one with `message`.
fn wait_for(log: &mut BufReader<ChildStderr>, message: &str) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the process ended before it said {message:?}");
        let said: Value = serde_json::from_str(&line).unwrap();
        if said["message"] == message {
            return said;
        }
    }
}

fn terminate(child: &Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
}

/// The status code of the admin port for `path`.
fn status(port: u16, path: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn is_a_lame_duck_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let mut child = Running(serve(dir.path(), "tenant: audit\n").spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let serving = wait_for(&mut log, "serving");
    let port = |key: &str| -> u16 { serving[key].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap() };
    assert_eq!(status(port("admin_listen"), "/ready"), 200);
    assert_eq!(status(port("admin_listen"), "/metrics"), 200);

    terminate(&child.0);
    wait_for(&mut log, "shutting down: not ready, still answering reviews");
    assert_eq!(status(port("admin_listen"), "/ready"), 503);
    assert_eq!(status(port("admin_listen"), "/live"), 200);
    TcpStream::connect(("127.0.0.1", port("listen"))).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn logs_a_connection_without_a_request_only_at_debug() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let mut child = Running(serve(dir.path(), "").arg("--log-level=debug").spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let serving = wait_for(&mut log, "serving");
    drop(TcpStream::connect(serving["listen"].as_str().unwrap()).unwrap());
    assert_eq!(wait_for(&mut log, "a TLS handshake failed")["level"], "DEBUG");
}

#[test]
fn names_every_fault_of_its_configuration_and_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let output = serve(dir.path(), "imaeg: x\nstate: forever\n").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 1: imaeg: unknown key; did you mean image?"), "{said}");
    assert!(said.contains("line 2: state: invalid value \"forever\": expected one of persistent, ephemeral"), "{said}");
}

#[test]
fn names_the_certificate_file_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let output = serve(dir.path(), "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("tls.crt"));
}
