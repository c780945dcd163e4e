//! Our own programs, built by cargo.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Builds the workspace's programs, unless they are up to date, and returns the path of one.
///
/// The caller's profile is used: a release build measures release builds.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--bins", "--profile", profile, "--message-format=json", "--quiet"]);
    executables(&mut command)?.remove(name).with_context(|| format!("cargo built no {name}"))
}

/// Runs `command`, a `cargo build` with `--message-format=json`, and returns the programs by name.
pub fn executables(command: &mut Command) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    command.current_dir(super::repository());
    // Cargo set these variables for this package. A build script (ring's) of the inner cargo would see them as a change and
    // rebuild most of the workspace.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().context("failed to run cargo")?;
    ensure!(output.status.success(), "cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let name = message.pointer("/target/name")?.as_str()?.to_owned();
            Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
        })
        .collect();
    Ok(messages)
}
