//! Builds the node's other images from this machine's own programs, because there is no registry.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::oci::{Config, Content, Entry, Image};

/// The image of the container that holds a pod's namespaces.
pub(super) const PAUSE: &str = "node.test/pause:1";
const BUSYBOX: &str = "/bin/busybox";
/// The substitutes for Redis Enterprise's own programs, by path.
const SCRIPTS: [(&str, &str); 6] = [
    ("/usr/local/bin/start", include_str!("workload/start")),
    ("/usr/local/bin/write-lines", include_str!("workload/write-lines")),
    ("/usr/local/bin/rotate", include_str!("workload/rotate")),
    ("/usr/local/bin/operator-root", include_str!("workload/operator-root")),
    ("/opt/redislabs/bin/python", include_str!("workload/python")),
    ("/etc/logrotate.conf", include_str!("workload/logrotate.conf")),
];
/// Debian's programs in the workload's image, with the libraries that they load.
const PROGRAMS: [&str; 4] = ["/bin/bash", "/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/sbin/logrotate"];

/// Writes the image of the pause container into `dir`.
pub(super) fn write_pause(dir: &Path) -> anyhow::Result<()> {
    write(dir, PAUSE, &["/busybox", "sleep", "2147483647"], vec![file("/busybox", BUSYBOX)])
}

/// Writes the image that replaces Redis Enterprise's and its operator's, under each of `names`.
pub(super) fn write_workload(dir: &Path, names: &[&str]) -> anyhow::Result<()> {
    let applets = run(Command::new(BUSYBOX).arg("--list"))?;
    let applet = |name: &str| Entry::new(&format!("/bin/{name}"), 0o777, Content::Link("busybox".to_owned()));
    // The last entry of a path wins.
    let mut entries: Vec<_> = applets.lines().map(applet).collect();
    entries.push(file("/bin/busybox", BUSYBOX));
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        entries.push(file(program, program));
        let loaded = run(Command::new("ldd").arg(program))?;
        libraries.extend(loaded.split_whitespace().filter(|word| word.starts_with('/')).map(ToOwned::to_owned));
    }
    entries.extend(libraries.iter().map(|library| file(library, library)));
    let script = |(path, text): (&str, &str)| Entry::new(path, 0o755, Content::Bytes(text.into()));
    entries.extend(SCRIPTS.map(script));
    entries.push(Entry::new("/srv/livez", 0o644, Content::Bytes(b"ok".to_vec())));
    entries.push(Entry::new("/tmp", 0o1777, Content::Directory));
    names.iter().try_for_each(|name| write(dir, name, &["/usr/local/bin/start"], entries.clone()))
}

fn file(path: &str, from: &str) -> Entry {
    Entry::new(path, 0o755, Content::File(from.into()))
}

fn write(dir: &Path, name: &str, entrypoint: &[&str], entries: Vec<Entry>) -> anyhow::Result<()> {
    let image = Image {
        name: name.to_owned(),
        architecture: if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }.to_owned(),
        config: Config {
            user: "65532:65532".to_owned(),
            entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
            env: vec!["PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin".to_owned()],
            ports: BTreeSet::new(),
            labels: BTreeMap::new(),
        },
        entries,
        created: 0,
    };
    let archive = dir.join(name.replace(['/', ':'], "_")).with_added_extension("tar");
    image.write(std::fs::File::create(archive)?)
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("failed to start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
