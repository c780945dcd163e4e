//! Which files there are: the log directory's own regular files that the globs choose.
//!
//! Symbolic links, FIFOs, devices and directories are never opened. A rotated copy (`x.log.1`, `x.log.2.gz`) is not a
//! stream of its own, whatever the globs say: it belongs to `x.log`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};

/// How often a directory is listed until two listings agree. Rotations come every few minutes and take milliseconds.
const SETTLING: usize = 16;

/// Device and inode: what a file is while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    /// The device's number.
    pub device: u64,
    /// The file's number on it.
    pub inode: u64,
}

impl Inode {
    /// That of the file `metadata` is about.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A regular file in the log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, without the directory.
    pub name: String,
    /// Its identity when it was looked at.
    pub inode: Inode,
}

/// The log directory and the globs.
#[derive(Clone, Debug)]
pub struct Discovery {
    dir: PathBuf,
    include: GlobSet,
    exclude: GlobSet,
}

impl Discovery {
    /// Files of `dir` that match one of `include` and none of `exclude`.
    pub fn new(dir: PathBuf, include: &[Glob], exclude: &[Glob]) -> Result<Self, globset::Error> {
        let set = |globs: &[Glob]| {
            let mut builder = GlobSetBuilder::new();
            for glob in globs {
                builder.add(glob.clone());
            }
            builder.build()
        };
        Ok(Self { dir, include: set(include)?, exclude: set(exclude)? })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All regular files of the directory, by name.
    pub fn list(&self) -> std::io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Of the entry itself, not of what a link points to. A file may vanish between the two calls.
            let Ok(metadata) = entry.metadata() else { continue };
            let (Ok(name), true) = (entry.file_name().into_string(), metadata.is_file()) else { continue };
            found.push(Found { name, inode: Inode::of(&metadata) });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// As [`Self::list`], made at one moment: a listing that was made while files were renamed may lack some of them or
    /// have others twice, so it is made again until it agrees with the one before. `before` is the last one made.
    pub fn list_settled(&self, before: &[Found]) -> std::io::Result<Vec<Found>> {
        let mut listing = self.list()?;
        if listing == before {
            return Ok(listing);
        }
        for _ in 0..SETTLING {
            let next = self.list()?;
            if next == listing {
                break;
            }
            listing = next;
        }
        Ok(listing)
    }

    /// Whether a file of this name is a stream of its own.
    pub fn is_stream(&self, name: &str) -> bool {
        self.include.is_match(name) && !self.exclude.is_match(name) && rotation(name).is_none()
    }

    /// Opens a file of the directory, if it is still the one that was found.
    pub fn open(&self, found: &Found) -> std::io::Result<Option<std::fs::File>> {
        let file = std::fs::File::open(self.dir.join(&found.name))?;
        let same = Inode::of(&file.metadata()?) == found.inode;
        Ok(same.then_some(file))
    }
}

/// The live file's name and the number of the rotation, where `name` is that of a rotated copy.
pub fn rotation(name: &str) -> Option<(&str, u32)> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let (live, number) = plain.rsplit_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // `redis.2.log` ends in letters and `core.1234` has no log before the number.
    (is_number && live.contains('.')).then_some((live, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(dir: &Path, include: &[&str], exclude: &[&str]) -> Discovery {
        let globs = |patterns: &[&str]| patterns.iter().map(|p| Glob::new(p).unwrap()).collect::<Vec<_>>();
        Discovery::new(dir.to_owned(), &globs(include), &globs(exclude)).unwrap()
    }

    #[test]
    fn chooses_by_include_and_exclude() {
        let discovery = discovery(Path::new("/"), &["*.log"], &["envoy*"]);
        assert!(discovery.is_stream("dmcproxy.log"));
        for name in ["envoy_access.log", "core.1", "dmcproxy.log.1", "dmcproxy.log.1.gz"] {
            assert!(!discovery.is_stream(name), "{name}");
        }
    }

    #[test]
    fn takes_rotated_copies_for_what_they_are_even_where_the_glob_matches_them() {
        assert!(!discovery(Path::new("/"), &["*"], &[]).is_stream("dmcproxy.log.2"));
        assert_eq!(rotation("dmcproxy.log.12.gz"), Some(("dmcproxy.log", 12)));
        assert_eq!(rotation("redis-1.log"), None);
    }

    #[test]
    fn never_opens_what_is_no_regular_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("real.log"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.log")).unwrap();
        std::fs::create_dir(dir.path().join("folder.log")).unwrap();
        let found = discovery(dir.path(), &["*"], &[]).list().unwrap();
        assert_eq!(found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["real.log"]);
    }

    #[test]
    fn does_not_open_a_file_that_became_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let discovery = discovery(dir.path(), &["*"], &[]);
        std::fs::write(dir.path().join("a.log"), "x").unwrap();
        let found = discovery.list().unwrap().remove(0);
        assert!(discovery.open(&found).unwrap().is_some());
        std::fs::write(dir.path().join("b.log"), "y").unwrap();
        std::fs::remove_file(dir.path().join("a.log")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("b.log"), dir.path().join("a.log")).unwrap();
        assert!(discovery.open(&found).unwrap().is_none());
    }
}
