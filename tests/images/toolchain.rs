//! Builds static programs for each processor that an image can be for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use harness::programs::executables;
use harness::repository;

/// A processor that an image can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// `x86_64`.
    Amd64,
    /// `aarch64`.
    Arm64,
}

impl Target {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Its name in OCI.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Its name in Rust.
    fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn triple(self) -> String {
        format!("{}-unknown-linux-musl", self.processor())
    }

    fn is_native(self) -> bool {
        self.processor() == std::env::consts::ARCH
    }

    /// Whether its Rust standard library is installed.
    fn is_installed(self) -> anyhow::Result<bool> {
        let output = Command::new("rustc").args(["--print", "target-libdir", "--target", &self.triple()]).output();
        let output = output.context("failed to run rustc")?;
        Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    }

    fn how_to_install(self) -> String {
        format!("install it with: rustup target add {}", self.triple())
    }

    /// The C compilers that can build ring for it, and the Debian package of the first one.
    ///
    /// clang compiles for every processor. ring needs a C library only on `x86_64`.
    fn compilers(self) -> (&'static [&'static str], &'static str) {
        match (self, self.is_native()) {
            (Self::Amd64, true) => (&["musl-gcc", "x86_64-linux-musl-gcc"], "musl-tools"),
            (Self::Amd64, false) => (&["x86_64-linux-musl-gcc"], "a musl cross compiler"),
            (Self::Arm64, true) => (&["musl-gcc", "aarch64-linux-musl-gcc", "clang"], "musl-tools"),
            (Self::Arm64, false) => (&["clang", "aarch64-linux-musl-gcc"], "clang"),
        }
    }

    /// The C compiler: the `CC_...` variable names it, or it is the first installed one.
    fn compiler(self) -> anyhow::Result<OsString> {
        let variable = format!("CC_{}", self.triple().replace('-', "_"));
        if let Some(compiler) = std::env::var_os(&variable) {
            return Ok(compiler);
        }
        let (compilers, package) = self.compilers();
        compilers.iter().find(|compiler| is_on_path(compiler)).map(OsString::from).with_context(|| {
            format!(
                "failed to find a C compiler for {}: install {} (on Debian: apt-get install {package}), or name one in {variable}",
                self.triple(),
                compilers.join(" or "),
            )
        })
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The processors to build for: the requested one, or this machine's and all others with an installed target. The lines name
/// the skipped processors and how to include them.
pub(crate) fn choose(asked: &[Target]) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let (mut targets, mut left_out) = (Vec::new(), Vec::new());
    for target in Target::ALL {
        let wanted = asked.contains(&target);
        if !wanted && !asked.is_empty() {
            continue;
        }
        if target.is_installed()? {
            targets.push(target);
        } else if wanted || target.is_native() {
            bail!("the Rust target {} is missing: {}", target.triple(), target.how_to_install());
        } else {
            let how = target.how_to_install();
            left_out.push(format!("left out linux/{}: its Rust target is missing; {how}", target.architecture()));
        }
    }
    Ok((targets, left_out))
}

/// Builds `programs` as static release binaries and returns their directory.
pub(crate) fn build(target: Target, programs: &[&str]) -> anyhow::Result<PathBuf> {
    let (triple, compiler) = (target.triple(), target.compiler()?);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "--target", &triple, "--message-format=json-render-diagnostics"]);
    command.env(format!("CC_{}", triple.replace('-', "_")), compiler);
    command.args(["--config", &format!("target.{triple}.rustflags={}", rustflags(target)?)]);
    for program in programs {
        command.args(["--package", program]);
    }
    // This takes minutes, so cargo shows its progress.
    let built = executables(command.stderr(Stdio::inherit()))?;
    let mut folders = BTreeSet::new();
    for program in programs {
        let path = built.get(*program).with_context(|| format!("cargo built no {program}"))?;
        folders.extend(path.parent());
    }
    ensure!(folders.len() == 1, "expected all programs in one folder: {folders:?}");
    folders.pop_first().map(Path::to_owned).context("expected at least one program")
}

/// A TOML list of flags. They keep this machine's paths out of the programs, so that another machine builds the same bytes. For
/// another processor they name Rust's own linker.
fn rustflags(target: Target) -> anyhow::Result<String> {
    let home = std::env::home_dir().context("failed to find the home directory: set HOME")?;
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let repository = repository().canonicalize()?;
    let mut flags = vec![
        format!("--remap-path-prefix={}=/cargo", cargo.display()),
        format!("--remap-path-prefix={}=/src", repository.display()),
    ];
    if !target.is_native() {
        flags.extend(["-Clink-self-contained=yes", "-Clinker=rust-lld"].map(str::to_owned));
    }
    Ok(serde_json::to_string(&flags)?)
}
