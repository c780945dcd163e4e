//! Finds the shipper that runs in the same container, because its arguments hold the settings.
//!
//! The webhook passes the settings as arguments of `run`. A command that `kubectl exec` starts in the sidecar has the
//! environment of the container, but not these arguments.

use std::ffi::OsString;
use std::io::Error;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::run::RunArgs;

/// The arguments of a command, completed by those of the running shipper if they name no URL, and the process id of that shipper.
pub(super) fn with_settings<A: clap::Args>(args: A, run: impl Fn(&A) -> &RunArgs) -> (A, Option<u32>) {
    if run(&args).loki_url.is_some() {
        return (args, None);
    }
    // The first two are the names of the program and of the command.
    let own = std::env::args_os().skip(2);
    let completed = Running::find().and_then(|running| Some((running.complete(own).ok()?, running.pid)));
    completed.map_or((args, None), |(completed, pid)| (completed, Some(pid)))
}

/// A running shipper.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    /// Its process id.
    pid: u32,
    /// Its arguments after `run`.
    args: Vec<OsString>,
}

impl Running {
    /// The only running shipper in this container. `None` if there is none, or more than one.
    ///
    /// A process counts if it runs this very program in this very mount namespace. The kernel answers both questions only for
    /// processes of the same user, so no process of another user can pass its settings to this one.
    fn find() -> Option<Self> {
        let own = Identity::of(Path::new("/proc/self")).ok()?;
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut running = processes.filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let path = process.path();
            let is_ours = Identity::of(&path).is_ok_and(|identity| identity == own);
            let args = is_ours.then(|| std::fs::read(path.join("cmdline")).ok()).flatten()?;
            Some(Self { pid, args: args_of_run(&args)? })
        });
        let first = running.next()?;
        running.next().is_none().then_some(first)
    }

    /// The arguments of a command: those of the running shipper, and then `own`, which replace them.
    fn complete<A: clap::Args>(&self, own: impl IntoIterator<Item = OsString>) -> Result<A, clap::Error> {
        let command = A::augment_args(clap::Command::new("redis-log-shipper")).args_override_self(true);
        let name = std::iter::once(OsString::from("redis-log-shipper"));
        let matches = command.try_get_matches_from(name.chain(self.args.iter().cloned()).chain(own))?;
        A::from_arg_matches(&matches)
    }
}

/// The program and the mount namespace of a process.
#[derive(PartialEq, Eq)]
struct Identity {
    program: (u64, u64),
    namespace: PathBuf,
}

impl Identity {
    fn of(process: &Path) -> Result<Self, Error> {
        let program = std::fs::metadata(process.join("exe"))?;
        let namespace = std::fs::read_link(process.join("ns/mnt"))?;
        Ok(Self { program: (program.dev(), program.ino()), namespace })
    }
}

/// The arguments after `run` in a command line of `/proc`. `None` if it is another command.
fn args_of_run(cmdline: &[u8]) -> Option<Vec<OsString>> {
    let args = cmdline.strip_suffix(&[0]).unwrap_or(cmdline).split(|byte| *byte == 0);
    let mut args = args.skip(1).map(|arg| OsString::from_vec(arg.to_vec()));
    (args.next()? == "run").then(|| args.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::RunArgs;

    fn running(args: &[&str]) -> Running {
        Running { pid: 1, args: args.iter().map(OsString::from).collect() }
    }

    fn completed(args: &[&str], own: &[&str]) -> RunArgs {
        running(args).complete(own.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn reads_the_arguments_of_run_and_of_no_other_command() {
        let args = |cmdline: &[u8]| args_of_run(cmdline);
        let expected = vec![OsString::from("--label=a=b c"), OsString::from("")];
        assert_eq!(args(b"/redis-log-shipper\0run\0--label=a=b c\0\0"), Some(expected));
        for other in [&b"/redis-log-shipper\0check\0"[..], b"/redis-log-shipper\0", b""] {
            assert_eq!(args(other), None);
        }
    }

    #[test]
    fn own_flags_replace_those_of_the_running_shipper() {
        let args = ["--loki-url=http://a/push", "--label=a=1", "--once", "--log-dir=/a"];
        let both = completed(&args, &["--loki-url", "http://b/push", "--label=b=2"]);
        assert_eq!(both.loki_url.as_deref(), Some("http://b/push"));
        assert_eq!((both.log_dir.to_str(), both.label), (Some("/a"), vec!["a=1".to_owned(), "b=2".to_owned()]));
    }
}
