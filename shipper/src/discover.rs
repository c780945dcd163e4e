//! Lists the log directory: the regular files in it, and which of them the globs choose.
//!
//! It never opens a FIFO, a device or a directory. It opens a symbolic link only if the link leads to a file below the log
//! directory: a link out of it may lead to the token. A rotated file (`x.log.1`, `x.log.2.gz`) belongs to the stream of
//! `x.log`, even if the globs match it.

use std::cmp::Reverse;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, makedev, statat, statx};
use rustix::io::Errno;

/// At most this many listings are compared until two agree. A rotation takes milliseconds, so they soon agree.
const MAX_LISTINGS: usize = 16;

/// What identifies a file while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    /// The device number.
    pub device: u64,
    /// The inode number on that device.
    pub inode: u64,
    /// The file's birth time in nanoseconds since 1970 UTC, if the file system has it. Inode numbers are reused.
    pub born: Option<i64>,
}

/// One listing keeps at most this many names. A Redis Enterprise node has twenty logs with ten rotated files each.
const MAX_NAMES: usize = 8192;

/// One stat of a file.
struct Snapshot {
    inode: Inode,
    file_type: FileType,
    /// The last modification, in seconds since 1970 UTC.
    modified: i64,
}

impl Snapshot {
    /// The stat of a path. Does not follow a link.
    fn at_path(path: &Path) -> std::io::Result<Self> {
        Self::at(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The stat of an open file.
    fn of(file: &File) -> std::io::Result<Self> {
        Self::at(file, Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Uses `statx`: the standard library returns no birth time in a static Linux binary.
    fn at(dir: impl AsFd, path: &Path, flags: AtFlags) -> std::io::Result<Self> {
        let known = match statx(&dir, path, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
            // A seccomp profile forbids statx, or the kernel is too old.
            Err(Errno::NOSYS | Errno::PERM) => return Self::without_birth(dir, path, flags),
            known => known?,
        };
        let born = StatxFlags::from_bits_retain(known.stx_mask).contains(StatxFlags::BTIME).then_some(known.stx_btime);
        let born = born.map(|born| born.tv_sec.saturating_mul(1_000_000_000).saturating_add(born.tv_nsec.into()));
        let device = makedev(known.stx_dev_major, known.stx_dev_minor);
        let inode = Inode { device, inode: known.stx_ino, born };
        let modified = known.stx_mtime.tv_sec;
        Ok(Self { inode, file_type: FileType::from_raw_mode(known.stx_mode.into()), modified })
    }

    fn without_birth(dir: impl AsFd, path: &Path, flags: AtFlags) -> std::io::Result<Self> {
        let known = statat(dir, path, flags)?;
        let inode = Inode { device: known.st_dev, inode: known.st_ino, born: None };
        Ok(Self { inode, file_type: FileType::from_raw_mode(known.st_mode), modified: known.st_mtime })
    }
}

/// A regular file in the log directory. Two are equal if they are the same file under the same name.
#[derive(Clone, Debug, Eq)]
pub struct Found {
    /// The name without the directory.
    pub name: String,
    /// The identity of the file at the time of the listing.
    pub inode: Inode,
    /// Whether the name is a symbolic link.
    pub link: bool,
    /// The last modification, in seconds since 1970 UTC.
    pub modified: i64,
}

impl PartialEq for Found {
    /// Ignores `modified`: a busy file changes it all the time.
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.inode, self.link) == (&other.name, other.inode, other.link)
    }
}

/// How many names a listing leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Names that match the globs but are not UTF-8.
    pub not_utf8: usize,
    /// Log files and rotated files over the limit.
    pub too_many: usize,
}

/// Which names stay when there are too many, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// A file that is followed, or one of its rotated files.
    Known,
    /// A file that the globs match, or one of its rotated files.
    Log,
    /// Any other file.
    Other,
}

/// The log directory and the globs.
#[derive(Clone, Debug)]
pub struct Discovery {
    dir: PathBuf,
    include: GlobSet,
    exclude: GlobSet,
}

/// Parses a glob. A `*` matches no slash.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

fn set(globs: &[Glob]) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(glob.clone());
    }
    builder.build()
}

impl Discovery {
    /// Takes the files of `dir` that match one of `include` and none of `exclude`.
    pub fn new(dir: PathBuf, include: &[Glob], exclude: &[Glob]) -> Result<Self, globset::Error> {
        Ok(Self { dir, include: set(include)?, exclude: set(exclude)? })
    }

    /// The same directory with other globs. `None` leaves them as they are.
    pub fn with(&self, include: Option<&[Glob]>, exclude: Option<&[Glob]>) -> Result<Self, globset::Error> {
        Ok(Self {
            dir: self.dir.clone(),
            include: include.map_or_else(|| Ok(self.include.clone()), set)?,
            exclude: exclude.map_or_else(|| Ok(self.exclude.clone()), set)?,
        })
    }

    /// The log directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same globs in another directory.
    pub(crate) fn of_dir(&self, dir: PathBuf) -> Self {
        Self { dir, ..self.clone() }
    }

    /// Lists the regular files of the directory, sorted by name.
    pub fn list(&self) -> std::io::Result<Vec<Found>> {
        Ok(self.list_once(&|_| false)?.0)
    }

    /// Lists the directory until two listings agree. A listing made during a rename can miss a file or hold it twice.
    /// `before` is the previous listing. `known` returns whether a name is followed.
    pub fn list_settled(
        &self,
        before: &[Found],
        known: &dyn Fn(&str) -> bool,
    ) -> std::io::Result<(Vec<Found>, LeftOut)> {
        let mut listing = self.list_once(known)?;
        if listing.0 == before {
            return Ok(listing);
        }
        for _ in 0..MAX_LISTINGS {
            // Two listings never agree here: which names are left out changes with every line that is written.
            if listing.1.too_many > 0 {
                break;
            }
            let next = self.list_once(known)?;
            if next.0 == listing.0 {
                break;
            }
            listing = next;
        }
        Ok(listing)
    }

    /// Lists the directory once, and counts the names it leaves out. Known names stay first, then the most recently
    /// modified files.
    fn list_once(&self, known: &dyn Fn(&str) -> bool) -> std::io::Result<(Vec<Found>, LeftOut)> {
        let dir = rustix::fs::open(&self.dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (mut found, mut left_out) = (Vec::new(), LeftOut::default());
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(name) => {
                    left_out.not_utf8 += usize::from(self.include.is_match(&name) && !self.exclude.is_match(&name));
                    continue;
                }
            };
            let priority = self.priority(&name, known);
            if priority == Priority::Other && found.len() >= MAX_NAMES {
                continue;
            }
            // A link is not followed here. The file may be gone since the name was read.
            let Ok(mut snapshot) = Snapshot::at(&dir, Path::new(&name), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let link = snapshot.file_type.is_symlink();
            if link {
                match self.target(&entry.path()) {
                    Some(target) => snapshot = target,
                    None => continue,
                }
            }
            if snapshot.file_type.is_file() {
                found.push((priority, Found { name, inode: snapshot.inode, link, modified: snapshot.modified }));
            }
            if found.len() >= 2 * MAX_NAMES {
                left_out.too_many += keep_first(&mut found);
            }
        }
        left_out.too_many += keep_first(&mut found);
        let mut found: Vec<_> = found.into_iter().map(|(_, found)| found).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((found, left_out))
    }

    fn priority(&self, name: &str, known: &dyn Fn(&str) -> bool) -> Priority {
        let live = rotation(name).map_or(name, |(live, _)| live);
        if known(live) {
            Priority::Known
        } else if self.is_stream(live) {
            Priority::Log
        } else {
            Priority::Other
        }
    }

    /// Whether a file of this name has its own stream.
    pub fn is_stream(&self, name: &str) -> bool {
        self.include.is_match(name) && !self.exclude.is_match(name) && rotation(name).is_none()
    }

    /// Opens a file if it is still the listed one, and still below the directory. Since the listing, somebody may have
    /// replaced the file, a link, or a directory on the link's path.
    pub fn open(&self, found: &Found) -> std::io::Result<Option<File>> {
        // The name may be a FIFO by now: NONBLOCK keeps open() from waiting for its writer.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY | if found.link { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(self.dir.join(&found.name)) {
            // The name is a link by now.
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(None),
            opened => opened?,
        };
        // The inode may be reused, even for a FIFO.
        let snapshot = Snapshot::of(&file)?;
        let same = snapshot.file_type.is_file() && snapshot.inode == found.inode;
        Ok((same && (!found.link || self.holds(&file)?)).then_some(file))
    }

    /// Whether an open file is below the directory, whichever path led to it.
    fn holds(&self, file: &File) -> std::io::Result<bool> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(path.starts_with(self.dir.canonicalize()?))
    }

    /// The target of a link, if it is below the directory.
    fn target(&self, link: &Path) -> Option<Snapshot> {
        let target = link.canonicalize().ok()?;
        target.starts_with(self.dir.canonicalize().ok()?).then(|| Snapshot::at_path(&target).ok())?
    }
}

/// Keeps the first [`MAX_NAMES`] names by priority. Returns how many log files and rotated files it removed.
fn keep_first(found: &mut Vec<(Priority, Found)>) -> usize {
    if found.len() <= MAX_NAMES {
        return 0;
    }
    found.sort_unstable_by(|(a, one), (b, other)| {
        (a, Reverse(one.modified), &one.name).cmp(&(b, Reverse(other.modified), &other.name))
    });
    found.drain(MAX_NAMES..).filter(|(priority, _)| *priority != Priority::Other).count()
}

/// Splits the name of a rotated file into the live file's name and the rotation number.
pub fn rotation(name: &str) -> Option<(&str, u32)> {
    let plain = name.strip_suffix(COMPRESSED).unwrap_or(name);
    let (live, number) = plain.rsplit_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // `redis.2.log` ends in letters. `core.1234` has no second dot.
    (is_number && live.contains('.')).then_some((live, number.parse().ok()?))
}

/// Whether `name` is the name of an archive.
pub fn is_compressed(name: &str) -> bool {
    name.ends_with(COMPRESSED)
}

const COMPRESSED: &str = ".gz";

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
    fn makes_no_stream_of_a_rotated_file_even_if_the_glob_matches_it() {
        assert!(!discovery(Path::new("/"), &["*"], &[]).is_stream("dmcproxy.log.2"));
        assert_eq!(rotation("dmcproxy.log.12.gz"), Some(("dmcproxy.log", 12)));
        assert_eq!(rotation("redis-1.log"), None);
        assert!(is_compressed("dmcproxy.log.12.gz") && !is_compressed("dmcproxy.log.12"));
    }

    #[test]
    fn tells_a_file_from_an_older_one_with_the_same_inode_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "x").unwrap();
        let snapshot = Snapshot::at_path(&path).unwrap();
        assert_eq!(Snapshot::of(&File::open(&path).unwrap()).unwrap().inode, snapshot.inode);
        let made = std::fs::metadata(&path).unwrap().created();
        let nanos = made.map(|made| made.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
        assert_eq!(snapshot.inode.born.map(i128::from), nanos.ok().map(u128::cast_signed));
        let without = Snapshot::without_birth(CWD, &path, AtFlags::empty()).unwrap();
        assert_eq!(without.inode, Inode { born: None, ..snapshot.inode });
        assert!(without.file_type.is_file());
    }

    /// Makes a FIFO. The standard library has no function for it.
    fn fifo(path: &Path) {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn finds_regular_files_and_links_to_them_and_nothing_outside_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(dir.path().join("real.log"), "x").unwrap();
        std::fs::create_dir(dir.path().join("folder.log")).unwrap();
        std::fs::write(dir.path().join("folder.log/inner"), "x").unwrap();
        fifo(&dir.path().join("fifo.log"));
        for (target, link) in [
            (Path::new("real.log"), "within.log"),
            (Path::new("folder.log/inner"), "deeper.log"),
            (outside.path(), "out.log"),
            (Path::new("out.log"), "indirectly_out.log"),
            (Path::new("folder.log/../../../etc/passwd"), "up.log"),
            (Path::new("/dev/null"), "device.log"),
            (Path::new("folder.log"), "to_folder.log"),
            (Path::new("nothing"), "dangling.log"),
            (Path::new("circle.log"), "circle.log"),
        ] {
            std::os::unix::fs::symlink(target, dir.path().join(link)).unwrap();
        }
        let found = discovery(dir.path(), &["*"], &[]).list().unwrap();
        let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.link)).collect();
        assert_eq!(names, [("deeper.log", true), ("real.log", false), ("within.log", true)]);
        assert_eq!(found[1].inode, found[2].inode);
    }

    #[test]
    fn does_not_wait_for_a_file_that_became_a_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let discovery = discovery(dir.path(), &["*"], &[]);
        std::fs::write(dir.path().join("a.log"), "x").unwrap();
        let found = discovery.list().unwrap().remove(0);
        std::fs::remove_file(dir.path().join("a.log")).unwrap();
        fifo(&dir.path().join("a.log"));
        assert!(discovery.open(&found).unwrap().is_none());
    }

    #[test]
    fn does_not_open_a_file_that_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let discovery = discovery(dir.path(), &["*"], &[]);
        std::fs::write(dir.path().join("a.log"), "x").unwrap();
        let found = discovery.list().unwrap().remove(0);
        assert!(discovery.open(&found).unwrap().is_some());
        std::fs::write(dir.path().join("new"), "y").unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("a.log")).unwrap();
        assert!(discovery.open(&found).unwrap().is_none());
        std::fs::write(dir.path().join("b.log"), "y").unwrap();
        std::fs::remove_file(dir.path().join("a.log")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("b.log"), dir.path().join("a.log")).unwrap();
        assert!(discovery.open(&found).unwrap().is_none());
        let link = discovery.list().unwrap().remove(0);
        assert!(discovery.open(&link).unwrap().is_some());
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::remove_file(dir.path().join("a.log")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a.log")).unwrap();
        assert!(discovery.open(&link).unwrap().is_none());
    }

    #[test]
    fn does_not_open_a_file_that_left_the_directory_since_the_listing() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let discovery = discovery(dir.path(), &["*"], &[]);
        for (folder, text) in [(dir.path().join("folder"), "x"), (outside.path().to_owned(), "secret")] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("token"), text).unwrap();
        }
        std::os::unix::fs::symlink("folder/token", dir.path().join("a.log")).unwrap();
        let mut found = discovery.list().unwrap().remove(0);
        assert!(discovery.open(&found).unwrap().is_some());
        // The subdirectory becomes a link out of the log directory after the listing resolved the first link.
        std::fs::remove_dir_all(dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("folder")).unwrap();
        found.inode = Snapshot::at_path(&outside.path().join("token")).unwrap().inode;
        assert!(discovery.open(&found).unwrap().is_none());
        // If the listing saw no link, the link is not followed.
        found.link = false;
        assert!(discovery.open(&found).unwrap().is_none());
    }

    #[test]
    fn counts_names_that_match_the_globs_but_are_not_utf8() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().unwrap();
        for name in [&b"caf\xe9.log"[..], b"\xff.log", b"\xff.txt", b"good.log"] {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        }
        let (found, left_out) = discovery(dir.path(), &["*.log"], &[]).list_settled(&[], &|_| false).unwrap();
        assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["good.log"]);
        assert_eq!(left_out, LeftOut { not_utf8: 2, too_many: 0 });
    }

    #[test]
    fn keeps_a_bounded_number_of_names_known_and_recent_ones_first() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
        for number in 0..2 * MAX_NAMES {
            let file = File::create(dir.path().join(format!("{number:05}.log"))).unwrap();
            file.set_modified(old).unwrap();
        }
        for name in ["known.log", "known.log.1"] {
            File::create(dir.path().join(name))
                .unwrap()
                .set_modified(old - std::time::Duration::from_hours(1))
                .unwrap();
        }
        for name in ["recent.log", "another file"] {
            File::create(dir.path().join(name)).unwrap();
        }
        let discovery = discovery(dir.path(), &["*.log"], &[]);
        let (found, left_out) = discovery.list_settled(&[], &|name| name == "known.log").unwrap();
        assert_eq!((found.len(), left_out.too_many), (MAX_NAMES, MAX_NAMES + 3));
        let has = |name: &str| found.iter().any(|found| found.name == name);
        assert!(has("known.log") && has("known.log.1") && has("recent.log") && !has("another file"));
    }
}
