//! Our own programs, as cargo builds them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Builds the workspace's binaries, if that is not done yet, and returns the path of one.
///
/// They are built as the caller was: what a release build measures is a release build.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut command = Command::new(cargo);
    command
        .args(["build", "--workspace", "--bins", "--profile", profile, "--message-format=json", "--quiet"])
        .current_dir(super::repository());
    // What cargo said about this package means nothing to another cargo, whose build scripts (ring's) would take it for a
    // change and have most of the workspace built anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().context("failed to run cargo")?;
    ensure!(output.status.success(), "cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| {
            message.pointer("/target/name").and_then(Value::as_str) == Some(name) && message["executable"].is_string()
        })
        .and_then(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .with_context(|| format!("cargo built no {name}"))
}
