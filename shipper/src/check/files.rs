//! Whether the log files can be read, and which formats they have.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;

use findings::{Check, Code, Finding, Outcome};
use runtime::printable;

use super::words::{check, skipped};
use crate::discover::{Discovery, Found, rotation};
use crate::formats::TimeReader;
use crate::settings::Settings;
use crate::status::findings::unreadable_directory;

/// So much of a file is searched for a line with a timestamp.
const SEARCHED: u64 = 256 << 10;
/// At most this many names stand in one line of the report.
const SHOWN: usize = 5;

/// Lists the log directory and opens every log file. This blocks.
pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let discovery = &settings.discovery;
    let directory = format!("log directory {}", discovery.dir().display());
    let listed = match discovery.list() {
        Ok(listed) => listed,
        Err(error) => {
            let found = Outcome::Found(unreadable_directory(discovery.dir(), &error.to_string()));
            let why = "the log directory cannot be read";
            return vec![check(directory, found), skipped("log files are readable", why), skipped("formats", why)];
        }
    };
    let live: Vec<_> = listed.iter().filter(|found| discovery.is_stream(&found.name)).collect();
    let is_rotated = |found: &&Found| rotation(&found.name).is_some_and(|(live, _)| discovery.is_stream(live));
    let rotated: Vec<_> = listed.iter().filter(is_rotated).collect();
    let counts = format!("{} log files and {} rotated files", live.len(), rotated.len());
    let mut checks = vec![check(directory, Outcome::Passed(counts))];
    if live.is_empty() && rotated.is_empty() {
        let why = "no file matches --include yet";
        checks.extend([skipped("log files are readable", why), skipped("formats", why)]);
        return checks;
    }
    let all: Vec<_> = live.iter().chain(&rotated).copied().collect();
    checks.push(check("log files are readable", readable(discovery, &all)));
    checks.push(check("formats", Outcome::Passed(formats(settings, &live))));
    checks
}

/// Whether every file can be opened.
fn readable(discovery: &Discovery, files: &[&Found]) -> Outcome {
    let user = rustix::process::geteuid().as_raw();
    let mut unreadable = Vec::new();
    for found in files {
        // A file that is gone or replaced by now is no finding.
        if let Err(error) = discovery.open(found)
            && error.kind() != ErrorKind::NotFound
        {
            unreadable.push((*found, error));
        }
    }
    let Some((first, error)) = unreadable.first() else {
        return Outcome::Passed(format!("user {user} can open all {}", files.len()));
    };
    let metadata = std::fs::metadata(discovery.dir().join(&first.name)).ok();
    let names = list(unreadable.iter().map(|(found, _)| found.name.as_str()));
    let problem = format!(
        "user {user} cannot open {} of {} log files ({names}): {error}{}",
        unreadable.len(),
        files.len(),
        metadata.as_ref().map_or_else(String::new, owner)
    );
    Outcome::Found(Finding::new(Code::LogsUnreadable, problem, fix(metadata.as_ref())))
}

fn owner(metadata: &Metadata) -> String {
    format!(
        "; the first belongs to user {} and group {}, with mode {:04o}",
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o7777
    )
}

fn fix(metadata: Option<&Metadata>) -> String {
    const GROUP: u32 = 0o040;
    match metadata {
        Some(metadata) if metadata.mode() & GROUP != 0 => {
            let group = metadata.gid();
            format!("let the sidecar run with group {group}: set supplementalGroups: [{group}] or fsGroup in the security context of the pod")
        }
        _ => "let the sidecar run with the user or the group of the files: set fsGroup in the security context of the pod"
            .to_owned(),
    }
}

/// The files of each format, by the first line with a timestamp.
fn formats(settings: &Settings, files: &[&Found]) -> String {
    let mut by_format = BTreeMap::<&str, Vec<&str>>::new();
    for found in files {
        let format = format(settings, found).unwrap_or("no timestamps");
        by_format.entry(format).or_default().push(&found.name);
    }
    let formats = by_format.into_iter().map(|(format, names)| format!("{format}: {}", list(names.into_iter())));
    formats.collect::<Vec<_>>().join("; ")
}

fn format(settings: &Settings, found: &Found) -> Option<&'static str> {
    let file = settings.discovery.open(found).ok()??;
    let mut reader = TimeReader::new(settings.tail.zone.clone());
    let lines = BufReader::new(file.take(SEARCHED)).split(b'\n').map_while(Result::ok);
    let mut stamps = lines.filter_map(|line| reader.read(&line));
    Some(stamps.next()?.format.name())
}

/// Names with commas between them. Only the first few of many.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let mut shown: Vec<_> = names.take(SHOWN).map(|name| printable(name).into_owned()).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::check::testing::{findings, passed, settings};

    #[test]
    fn names_the_formats_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "dmcproxy.log",
            "Traceback:\n3) 2026-02-20 22:31:07.002 [1623] INFO dmc.app (App@dmcproxy.cpp:959) - x\n",
        );
        write("dmcproxy.log.1", "old\n");
        write("other.log", "no time\n");
        write("core.12", "no log file\n");
        let checks = checks(&settings(dir.path(), &[]));
        assert!(findings(&checks).is_empty(), "{checks:?}");
        let details: Vec<_> = checks.iter().filter_map(passed).collect();
        assert_eq!(details[0], "2 log files and 1 rotated files");
        assert_eq!(details[2], "dmc: dmcproxy.log; no timestamps: other.log");
    }

    #[test]
    fn finds_a_missing_log_directory() {
        let dir = tempfile::tempdir().unwrap();
        let checks = checks(&settings(&dir.path().join("none"), &[]));
        assert_eq!(findings(&checks), [Code::NoLogDirectory]);
        assert_eq!(checks.len(), 3, "{checks:?}");
    }

    #[test]
    fn names_the_group_that_may_read_the_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let group = file.as_file().metadata().unwrap().gid();
        let fix_of = |mode| {
            file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            fix(Some(&file.as_file().metadata().unwrap()))
        };
        assert!(fix_of(0o640).contains(&format!("supplementalGroups: [{group}]")));
        assert!(!fix_of(0o600).contains("supplementalGroups"));
    }
}
