//! Whether lines can be shipped from here: the files, the state, the gateway, the token, the permission, the clock.
//!
//! ```text
//! settings ─ log files ─ state directory ─ gateway ─ token ─ push ─ running shipper
//!                                          (name, port, certificate)   (empty: stores nothing)
//! ```
//!
//! It reads and asks. It writes no file, moves no position and pushes no line. Every step has a timeout. A step that an earlier
//! failure makes impossible is reported as not checked.

mod answer;
mod certificate;
mod files;
mod gateway;
mod handshake;
mod sidecar;
mod state;
#[cfg(test)]
mod testing;
mod token;
mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use findings::{Check, Code, Finding, Group, Outcome, Report};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::settings::{InvalidSettings, Settings};
use words::{check, skipped};

/// The timeout of a group that reads files. A volume may not answer.
const READING: Duration = Duration::from_secs(20);

/// Where the settings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line and the environment of this command.
    Own,
    /// The arguments of the running shipper with this process id, the command line, and the environment.
    Running(u32),
}

/// The groups, in the order of the report.
const GROUPS: [&str; 7] = ["settings", "log files", "state directory", "gateway", "token", "push", "running shipper"];

/// Checks everything that the settings name.
pub(crate) async fn report(settings: Result<Settings, InvalidSettings>, origin: Origin) -> Report {
    let groups = match settings {
        Ok(settings) => groups(Arc::new(settings), origin).await,
        Err(InvalidSettings(faults)) => {
            let unchecked = |name| vec![skipped(name, "the settings are invalid")];
            let [_, rest @ ..] = GROUPS;
            std::iter::once(invalid(&faults, origin)).chain(rest.map(unchecked)).collect()
        }
    };
    let groups = GROUPS.iter().zip(groups);
    Report { groups: groups.map(|(name, checks)| Group { name: (*name).to_owned(), checks }).collect() }
}

async fn groups(settings: Arc<Settings>, origin: Origin) -> Vec<Vec<Check>> {
    let running = if let Origin::Running(pid) = origin { Some(pid) } else { None };
    let [_, files, state, ..] = GROUPS;
    let files = in_time(files, settings.clone(), files::checks).await;
    let state = in_time(state, settings.clone(), move |settings| state::checks(settings, running)).await;
    let (reached, obstacle) = gateway::checks(&settings.push).await;
    let token = token::checks(&settings.push, SystemTime::now());
    let push = answer::checks(&settings.push, obstacle).await;
    let sidecar = sidecar::checks(settings.listen).await;
    vec![valid(&settings, origin), files, state, reached, token, push, sidecar]
}

/// Runs checks that block, and waits for them only so long.
async fn in_time(
    name: &str,
    settings: Arc<Settings>,
    checks: impl FnOnce(&Settings) -> Vec<Check> + Send + 'static,
) -> Vec<Check> {
    let done = timeout(READING, spawn_blocking(move || checks(&settings))).await;
    done.ok().and_then(Result::ok).unwrap_or_else(|| {
        let problem = format!("the volume of the {name} does not answer within {READING:?}");
        let finding = Finding::new(Code::LogsUnreadable, problem, "look at the volume, and at the node that mounts it");
        vec![check(name, Outcome::Found(finding))]
    })
}

fn valid(settings: &Settings, origin: Origin) -> Vec<Check> {
    let origin = match origin {
        Origin::Own => "from flags and environment".to_owned(),
        Origin::Running(pid) => format!("from the running shipper (process {pid}) and the environment"),
    };
    let remarks = settings.warnings.iter().chain(&settings.notes).map(|remark| format!("; {remark}"));
    vec![check("settings are valid", Outcome::Passed(origin + &remarks.collect::<String>()))]
}

fn invalid(faults: &[String], origin: Origin) -> Vec<Check> {
    const CORRECT: &str =
        "correct the value; in a sidecar it comes from the configuration of the webhook or an annotation of the pod";
    let alone = "; without --loki-url, check takes the arguments of the one shipper that runs in the same container, and \
                 there is none";
    let is_missing = |fault: &str| fault.starts_with("--loki-url is missing") && origin == Origin::Own;
    let found = |fault: &String| {
        let fix = format!("{CORRECT}{}", if is_missing(fault) { alone } else { "" });
        let finding = Finding::new(Code::SettingsInvalid, runtime::printable(fault), fix);
        check("settings are valid", Outcome::Found(finding))
    };
    faults.iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn checks_nothing_with_invalid_settings_and_names_each_fault() {
        let faults = vec!["--max-age \"old\": expected a duration".to_owned(), "--loki-url is missing: x".to_owned()];
        let report = report(Err(InvalidSettings(faults)), Origin::Own).await;
        assert_eq!(report.groups.len(), GROUPS.len());
        assert_eq!(testing::findings(&report.groups[0].checks), [Code::SettingsInvalid; 2]);
        let rest = report.groups.iter().skip(1).flat_map(|group| &group.checks);
        assert!(rest.into_iter().all(|check| matches!(check.outcome, Outcome::Skipped(_))));
        let fixes: Vec<_> = report.findings().map(|finding| finding.fix.contains("in the same container")).collect();
        assert_eq!(fixes, [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_a_volume_that_does_not_answer() {
        let settings = Arc::new(testing::settings(std::path::Path::new("/tmp"), &[]));
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let checks = in_time("log files", settings, move |_| {
            let _ = hang.recv();
            Vec::new()
        });
        // Time is paused and does not pass while a blocking task runs, so it is moved here.
        let (checks, ()) = tokio::join!(checks, async {
            tokio::task::yield_now().await;
            tokio::time::advance(READING).await;
        });
        assert_eq!(testing::findings(&checks), [Code::LogsUnreadable]);
        drop(release);
    }
}
