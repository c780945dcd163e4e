//! `cargo images` writes the container image as an OCI archive, without Docker and without a registry.
//!
//! ```text
//! cargo (static binaries) ──► harness::image (the Dockerfile's layout) ──► harness::oci ──► NAME-VERSION-ARCH.oci.tar
//! ```

mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::Parser;
use harness::{image, oci, repository, say};
use toolchain::Target;

/// Write the container image as an OCI archive: for `ctr images import`, `skopeo copy` or `podman load`.
#[derive(Debug, Parser)]
#[command(name = "cargo images")]
struct Args {
    /// The directory for the archives.
    #[arg(long, value_name = "DIR", default_value_t = String::from("target/images"))]
    out: String,
    /// Build for this processor only. Default: this machine's, and all others with an installed Rust target.
    #[arg(long, value_name = "ARCH", value_enum)]
    arch: Vec<Target>,
    /// The image's name with a tag. Default: the name in the manifests.
    #[arg(long, value_name = "NAME:TAG")]
    name: Option<String>,
    /// Use the programs in this directory instead of building them.
    #[arg(long, value_name = "DIR", requires = "arch")]
    programs: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (targets, left_out) = toolchain::choose(&args.arch)?;
    for line in left_out {
        say(&line);
    }
    let out = repository().join(&args.out);
    let out = std::fs::create_dir_all(&out)
        .and_then(|()| out.canonicalize())
        .with_context(|| format!("failed to make the folder {}", out.display()))?;
    for target in targets {
        let programs = match &args.programs {
            Some(programs) => programs.clone(),
            None => toolchain::build(target, &image::PROGRAMS)?,
        };
        let mut image = image::image(target.architecture(), &programs, &revision())?;
        image.created = created()?;
        if let Some(name) = &args.name {
            image.name.clone_from(name);
        }
        write(&image, &out)?;
    }
    Ok(())
}

/// Writes the archive under a temporary name, then renames it.
fn write(image: &oci::Image, out: &Path) -> anyhow::Result<()> {
    let (_, short) = image.name.rsplit_once('/').unwrap_or(("", &image.name));
    let path = out.join(format!("{}-{}.oci.tar", short.replace(':', "-"), image.architecture));
    let mut archive = Vec::new();
    image.write(&mut archive)?;
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, &archive)
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .with_context(|| format!("failed to write {}", path.display()))?;
    let (name, size, sum) = (&image.name, archive.len(), oci::sha256(&archive));
    say(&format!("{}: {name}, linux/{}, {size} bytes, sha256 {sum}", path.display(), image.architecture));
    Ok(())
}

/// The commit of the build, if git knows it.
fn revision() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(repository()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}-modified") }
}

/// The timestamp of every entry: `SOURCE_DATE_EPOCH`, or 1970.
fn created() -> anyhow::Result<i64> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(0) };
    let text = text.to_string_lossy();
    text.parse().ok().filter(|seconds| *seconds >= 0).with_context(|| {
        format!("invalid SOURCE_DATE_EPOCH \"{text}\": expected seconds since 1970, such as the output of `git log -1 --format=%ct`")
    })
}
