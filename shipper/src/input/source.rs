//! Complete files to ship: those of a directory, or those of a support package.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

use super::files::{self, InputFile};
use super::package::{LeftOut, Member, Package, PackageError};
use crate::discover::{Discovery, rotation};

/// Why complete files cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The log directory does not exist, or cannot be read.
    #[error("failed to read the log directory {dir}; is it the directory of the log files, and may this user read it?")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The support package cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
}

/// Where the files are.
#[derive(Debug)]
pub(crate) struct Source {
    discovery: Discovery,
    package: Option<Package>,
}

impl Source {
    /// The directory of `discovery`, or the support package in its place.
    pub(crate) fn new(discovery: Discovery) -> Self {
        let package = Package::is_one(discovery.dir()).then(|| Package::new(discovery.dir().to_owned()));
        Self { discovery, package }
    }

    /// Whether it is a support package.
    pub(crate) fn is_package(&self) -> bool {
        self.package.is_some()
    }

    /// Passes each wanted log file with its bytes to `each`. What cannot be read is counted and left out.
    pub(crate) fn visit(
        &self,
        wanted: &mut dyn FnMut(&Member) -> bool,
        each: &mut super::package::Each<'_>,
    ) -> Result<LeftOut, SourceError> {
        let discovery = &self.discovery;
        let is_log = |name: &str| discovery.is_stream(rotation(name).map_or(name, |(live, _)| live));
        if let Some(package) = &self.package {
            return Ok(package.visit(&mut |member| is_log(&member.name) && wanted(member), each)?);
        }
        let failed = |source| SourceError::Directory { dir: discovery.dir().to_owned(), source };
        let mut left_out = LeftOut::new();
        for file in files::list(&[], discovery, "").map_err(failed)? {
            if visit_file(&file, wanted, each).is_err() {
                *left_out.entry("damaged files").or_default() += 1;
            }
        }
        Ok(left_out)
    }
}

fn visit_file(
    file: &InputFile,
    wanted: &mut dyn FnMut(&Member) -> bool,
    each: &mut super::package::Each<'_>,
) -> io::Result<()> {
    let mut member = Member { folder: String::new(), name: file.shown.clone(), modified: None };
    if !wanted(&member) {
        return Ok(());
    }
    let (mut bytes, modified): (Box<dyn Read>, _) = file.open()?;
    member.modified = modified;
    each(&member, &mut bytes)
}

/// The folders of files.
pub(crate) fn folders<'a>(members: impl Iterator<Item = &'a Member>) -> BTreeSet<String> {
    members.map(|member| member.folder.clone()).collect()
}
