//! Whether positions can be written. Nothing is written: the permissions and the free space tell.

use std::path::{Path, PathBuf};

use findings::{Check, Code, Finding, Outcome};
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::words::{check, skipped};
use crate::settings::Settings;
use crate::state::home::Home;

/// Checks the state directory and its fallback. This blocks.
///
/// The lock is not tried: a shipper that starts at this moment would not get it.
pub(super) fn checks(settings: &Settings, running: Option<u32>) -> Vec<Check> {
    let Some(state) = &settings.state_dir else {
        return vec![skipped("state directory", "--state-dir is not set, so positions are not kept")];
    };
    let fallback = settings.state_fallback_dir.as_deref();
    let mut checks = vec![check(title("state directory", state), writable(state, &consequence(fallback)))];
    if let Some(fallback) = fallback {
        let outcome = writable(fallback, "positions are lost if the state directory cannot be written either");
        checks.push(check(title("fallback directory", fallback), outcome));
    }
    checks.push(positions(state.clone(), settings.state_fallback_dir.clone(), running));
    checks
}

fn title(what: &str, dir: &Path) -> String {
    format!("{what} {}", dir.display())
}

fn consequence(fallback: Option<&Path>) -> String {
    fallback.map_or_else(
        || "positions are not kept, so a restart ships the files from their start again".to_owned(),
        |dir| format!("positions are kept in {}, which ends with the pod", dir.display()),
    )
}

fn writable(dir: &Path, consequence: &str) -> Outcome {
    let user = rustix::process::geteuid().as_raw();
    match obstacle(dir) {
        None => Outcome::Passed(format!("user {user} can write to it")),
        Some(why) => {
            let problem = format!("user {user} cannot write to {}: {why}; {consequence}", dir.display());
            let fix = "set fsGroup in the security context of the pod, or the annotation redis-log-shipper.io/state: ephemeral";
            Outcome::Found(Finding::new(Code::StateNotWritable, problem, fix))
        }
    }
}

/// Why nothing can be written to `dir`.
fn obstacle(dir: &Path) -> Option<String> {
    // The shipper creates a directory that does not exist.
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
    if let Err(error) = accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        return Some(std::io::Error::from(error).to_string());
    }
    let space = statvfs(existing).ok()?;
    (space.f_blocks > 0 && space.f_bavail == 0).then(|| "no space is left on its volume".to_owned())
}

/// Whether the stored positions can be read.
fn positions(state: PathBuf, fallback: Option<PathBuf>, running: Option<u32>) -> Check {
    let (record, damaged) = Home::new(Some(state), fallback).load();
    let owner = running.map_or_else(String::new, |pid| format!("; the running shipper (process {pid}) writes them"));
    let damaged: Vec<_> = damaged.iter().map(|error| format!("; {}", runtime::chain(error))).collect();
    check("positions", Outcome::Passed(format!("of {} files{owner}{}", record.len(), damaged.concat())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{findings, settings};

    #[test]
    fn writes_nothing_to_a_directory_that_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let checks = checks(&settings(dir.path(), &["--state-dir", state.to_str().unwrap()]), Some(7));
        assert!(findings(&checks).is_empty(), "{checks:?}");
        assert!(format!("{checks:?}").contains("process 7"));
        assert!(!state.exists());
    }

    #[test]
    fn finds_a_state_directory_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        // Not even root can write here.
        let args = ["--state-dir=/proc/sys", "--state-fallback-dir", dir.path().to_str().unwrap()];
        let checks = checks(&settings(dir.path(), &args), None);
        assert_eq!(findings(&checks), [Code::StateNotWritable]);
        assert!(format!("{checks:?}").contains("which ends with the pod"), "{checks:?}");
    }

    #[test]
    fn skips_the_state_directory_if_there_is_none() {
        let checks = checks(&settings(Path::new("/tmp"), &[]), None);
        assert!(matches!(checks.as_slice(), [Check { outcome: Outcome::Skipped(_), .. }]), "{checks:?}");
    }
}
