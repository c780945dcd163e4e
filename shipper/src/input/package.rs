//! A support package: an archive of log files that is read without unpacking it to disk.
//!
//! Nothing in an archive is trusted. It is read member by member in bounded memory. Only regular files with plain relative paths
//! count. Links, devices and paths out of the archive are left out and counted. An archive that decompresses to absurdly many
//! bytes, or holds absurdly many files, is refused.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::EntryType;

/// At most this many members are read of a package. A node has a few hundred files.
const MAX_MEMBERS: usize = 100_000;
/// Archives in archives are read to this depth: a package of a namespace holds one of a cluster, which holds one of each node.
const MAX_DEPTH: usize = 4;
/// The longest path of a member, and the most bytes of extensions to a header.
const MAX_HEADER: u64 = 64 << 10;
/// A package may decompress to this many bytes, whatever its size.
const FREE: u64 = 1 << 30;
/// A larger package may decompress to this many times its own size. Repetitive logs reach a hundred, gzip a thousand.
const RATIO: u64 = 300;
/// How many bytes are read at once.
const STEP: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// Its bytes cannot be read, or they are no archive.
    #[error("failed to read the support package {path}; is it a complete .tar.gz file?")]
    Read {
        /// The package.
        path: PathBuf,
        /// The error of the file system, of gzip or of tar.
        source: io::Error,
    },
    /// It holds more than a support package ever does.
    #[error("refused the support package {path}: {why}; unpack it, and ship the directory of its logs")]
    Refused {
        /// The package.
        path: PathBuf,
        /// What there is too much of.
        why: &'static str,
    },
}

/// A regular file in a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Its folder, with the names of the archives that it is in.
    pub(crate) folder: String,
    /// Its file name.
    pub(crate) name: String,
    /// The last modification, in nanoseconds since 1970 UTC.
    pub(crate) modified: Option<i64>,
}

impl Member {
    /// The whole path.
    pub(crate) fn path(&self) -> String {
        if self.folder.is_empty() { self.name.clone() } else { format!("{}/{}", self.folder, self.name) }
    }
}

/// What is left out of a package, by reason.
pub(crate) type LeftOut = BTreeMap<&'static str, usize>;

/// A member that is wanted is passed to this, with its bytes, decompressed if they are gzip's.
pub(crate) type Each<'a> = dyn FnMut(&Member, &mut dyn Read) -> io::Result<()> + 'a;

/// A package.
#[derive(Clone, Debug)]
pub(crate) struct Package(PathBuf);

impl Package {
    /// The package at this path.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether a path looks like one: a regular file, and no log file.
    pub(crate) fn is_one(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        is_archive(&name) && path.is_file()
    }

    /// Reads the package once, and passes each wanted member to `each`, in the order of the archive. Where `each` fails, the
    /// member counts as damaged, and the next one follows.
    pub(crate) fn visit(
        &self,
        wanted: &mut dyn FnMut(&Member) -> bool,
        each: &mut Each<'_>,
    ) -> Result<LeftOut, PackageError> {
        let read = |source| PackageError::Read { path: self.0.clone(), source };
        let file = File::open(&self.0).map_err(read)?;
        let budget = Budget { allowed: allowed(file.metadata().map_err(read)?.len()), ..Budget::default() };
        let mut visit =
            Visit { wanted, each, budget: &budget, members: 0, seen: BTreeSet::new(), left_out: LeftOut::new() };
        let visited = visit.archive(&mut { file }, "", 1);
        if let Some(why) = budget.refused.get() {
            return Err(PackageError::Refused { path: self.0.clone(), why });
        }
        visited.map_err(read)?;
        Ok(visit.left_out)
    }
}

fn allowed(len: u64) -> u64 {
    FREE.max(len.saturating_mul(RATIO))
}

fn is_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".tar.gz", ".tgz", ".tar"].iter().any(|ending| name.ends_with(ending))
}

/// How much may still be read.
#[derive(Debug, Default)]
struct Budget {
    allowed: u64,
    used: Cell<u64>,
    refused: Cell<Option<&'static str>>,
}

impl Budget {
    /// Refuses the package. All readers fail from now on.
    fn refuse(&self, why: &'static str) -> io::Error {
        self.refused.set(self.refused.get().or(Some(why)));
        io::Error::other(why)
    }
}

/// Counts decompressed bytes.
struct Counted<'a, R> {
    inner: R,
    budget: &'a Budget,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(why) = self.budget.refused.get() {
            return Err(io::Error::other(why));
        }
        let read = self.inner.read(buffer)?;
        self.budget.used.set(self.budget.used.get() + read as u64);
        if self.budget.used.get() > self.budget.allowed {
            return Err(self.budget.refuse("it decompresses to more than 300 times its size"));
        }
        Ok(read)
    }
}

/// One reading of a package.
struct Visit<'a> {
    wanted: &'a mut dyn FnMut(&Member) -> bool,
    each: &'a mut Each<'a>,
    budget: &'a Budget,
    members: usize,
    /// Paths of wanted members: a second one of the same path is left out.
    seen: BTreeSet<String>,
    left_out: LeftOut,
}

impl Visit<'_> {
    /// Reads an archive whose members are in `folder`.
    fn archive(&mut self, source: &mut dyn Read, folder: &str, depth: usize) -> io::Result<()> {
        let budget = self.budget;
        let mut source = BufReader::with_capacity(STEP, source);
        let is_gzip = source.fill_buf()?.starts_with(&GZIP);
        let mut bytes: Box<dyn Read> = if is_gzip {
            Box::new(Counted { inner: MultiGzDecoder::new(source), budget })
        } else {
            Box::new(Counted { inner: source, budget })
        };
        // Raw: otherwise the library reads a header's extensions into memory, whatever their length.
        let mut archive = tar::Archive::new(&mut *bytes);
        let mut extensions = Extensions::default();
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            self.members += 1;
            if self.members > MAX_MEMBERS {
                return Err(budget.refuse("it has more than 100,000 members"));
            }
            match entry.header().entry_type() {
                EntryType::GNULongName | EntryType::XHeader => {
                    extensions.read(&mut entry, budget)?;
                    continue;
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => continue,
                EntryType::GNUSparse => return Err(budget.refuse("it has sparse files")),
                EntryType::Directory => {}
                EntryType::Regular | EntryType::Continuous => {
                    let modified = entry.header().mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
                    let modified = modified.map(|seconds| seconds.saturating_mul(1_000_000_000));
                    let path = extensions.path.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                    self.file(&mut entry, &path, modified, folder, depth)?;
                }
                _ => self.leave_out("links and devices"),
            }
            extensions = Extensions::default();
        }
        Ok(())
    }

    fn file(
        &mut self,
        bytes: &mut dyn Read,
        path: &[u8],
        modified: Option<i64>,
        folder: &str,
        depth: usize,
    ) -> io::Result<()> {
        let Some((inner, name)) = split(path) else {
            self.leave_out("paths that lead out of the package");
            return Ok(());
        };
        let folder = joined(folder, &inner);
        if is_archive(&name) {
            if depth == MAX_DEPTH {
                self.leave_out("archives in too many archives");
                return Ok(());
            }
            let read = self.archive(bytes, &joined(&folder, archive_stem(&name)), depth + 1);
            if read.is_err() && self.budget.refused.get().is_none() {
                self.leave_out("damaged archives");
                return Ok(());
            }
            return read;
        }
        let member = Member { folder, name, modified };
        if !(self.wanted)(&member) {
            return Ok(());
        }
        if !self.seen.insert(member.path()) {
            self.leave_out("files whose path is taken");
            return Ok(());
        }
        let read = self.member(&member, bytes);
        if read.is_err() && self.budget.refused.get().is_none() {
            self.leave_out("damaged files");
            return Ok(());
        }
        read
    }

    fn member(&mut self, member: &Member, bytes: &mut dyn Read) -> io::Result<()> {
        let mut bytes = BufReader::with_capacity(STEP, bytes);
        if bytes.fill_buf()?.starts_with(&GZIP) {
            (self.each)(member, &mut Counted { inner: MultiGzDecoder::new(bytes), budget: self.budget })
        } else {
            (self.each)(member, &mut bytes)
        }
    }

    fn leave_out(&mut self, what: &'static str) {
        *self.left_out.entry(what).or_default() += 1;
    }
}

/// What precedes a header.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
}

impl Extensions {
    fn read<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, budget: &Budget) -> io::Result<()> {
        if entry.size() > MAX_HEADER {
            return Err(budget.refuse("a header in it is longer than 64 KiB"));
        }
        let is_name = entry.header().entry_type() == EntryType::GNULongName;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if is_name {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            self.path = Some(bytes);
            return Ok(());
        }
        for extension in tar::PaxExtensions::new(&bytes) {
            let extension = extension?;
            match extension.key_bytes() {
                b"path" => self.path = Some(extension.value_bytes().to_vec()),
                // The size in the header is another one then.
                b"size" => return Err(budget.refuse("a file in it is larger than 8 GiB")),
                key if key.starts_with(b"GNU.sparse") => return Err(budget.refuse("it has sparse files")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folder and the name of a path, if it stays inside.
fn split(path: &[u8]) -> Option<(String, String)> {
    let path = String::from_utf8_lossy(path);
    let mut parts = Vec::new();
    for part in Path::new(&*path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let name = parts.pop()?;
    Some((parts.join("/"), name.to_owned()))
}

fn joined(folder: &str, inner: &str) -> String {
    match (folder, inner) {
        ("", inner) => inner.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, inner) => format!("{folder}/{inner}"),
    }
}

fn archive_stem(name: &str) -> &str {
    let at = name.to_ascii_lowercase().rfind(".t").unwrap_or(name.len());
    name.get(..at).unwrap_or(name)
}

/// The label `node` of each folder: `node_1` of any folder of or below a folder of that name, else the folder without what all
/// folders share and without `logs` at its end.
pub(crate) fn nodes(folders: &BTreeSet<String>) -> BTreeMap<String, String> {
    let parts = |folder: &str| -> Vec<String> {
        let parts = folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        let mut parts: Vec<_> = parts.collect();
        // An archive of a node often holds a folder of its own name.
        parts.dedup();
        if parts.last().is_some_and(|last| matches!(last.as_str(), "logs" | "log")) {
            parts.pop();
        }
        parts
    };
    let all: Vec<_> = folders.iter().map(|folder| parts(folder)).collect();
    let shared = all.first().map_or(0, |first| {
        let same = |at: usize| all.iter().all(|parts| parts.get(at).is_some() && parts.get(at) == first.get(at));
        (0..first.len()).take_while(|at| same(*at)).count()
    });
    let node = |parts: &[String]| match parts.iter().find(|part| is_node(part)) {
        Some(node) => node.clone(),
        None => parts.get(shared..).unwrap_or_default().join("/"),
    };
    folders.iter().cloned().zip(all.iter().map(|parts| node(parts))).collect()
}

/// Whether a folder is named after a node: `node_1`, `node-1` or `node1`.
fn is_node(folder: &str) -> bool {
    let folder = folder.to_ascii_lowercase();
    let Some(id) = folder.strip_prefix("node") else { return false };
    let id = id.strip_prefix(['_', '-']).unwrap_or(id);
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    /// An archive of regular files.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            add(&mut builder, EntryType::Regular, path, bytes);
        }
        gzip(&builder.into_inner().unwrap())
    }

    /// Adds a member. The path is not checked.
    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mtime(5);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    struct Read1 {
        files: Vec<(String, Vec<u8>)>,
        left_out: Vec<(&'static str, usize)>,
    }

    fn read(bytes: &[u8]) -> Result<Read1, PackageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("package.tar.gz");
        std::fs::write(&path, bytes).unwrap();
        let mut files = Vec::new();
        let mut each = |member: &Member, bytes: &mut dyn Read| {
            let mut content = Vec::new();
            bytes.read_to_end(&mut content)?;
            files.push((member.path(), content));
            Ok(())
        };
        let left_out = Package::new(path).visit(&mut |member| member.name.contains(".log"), &mut each)?;
        Ok(Read1 { files, left_out: left_out.into_iter().collect() })
    }

    fn paths(read: &Read1) -> Vec<&str> {
        read.files.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn reads_files_compressed_files_and_archives_in_archives() {
        let node = archive(&[("node_2/logs/a.log", b"two"), ("node_2/logs/x.txt", b"not wanted")]);
        let long = format!("{}/a.log", "long".repeat(60));
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, EntryType::Directory, "node_1/", b"");
        add(&mut builder, EntryType::Regular, "./node_1/logs/a.log", b"one");
        add(&mut builder, EntryType::Regular, "node_1/logs/a.log.1.gz", &gzip(b"before"));
        add(&mut builder, EntryType::Regular, "node_2/node_2.tar.gz", &node);
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        builder.append_data(&mut header, &long, &b"long"[..]).unwrap();
        let read = read(&gzip(&builder.into_inner().unwrap())).unwrap();
        let expected =
            ["node_1/logs/a.log", "node_1/logs/a.log.1.gz", "node_2/node_2/node_2/logs/a.log", long.as_str()];
        assert_eq!(paths(&read), expected);
        assert_eq!(
            read.files.iter().map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>(),
            [&b"one"[..], b"before", b"two", b"long"]
        );
        assert_eq!(read.left_out, []);
    }

    #[test]
    fn leaves_out_links_devices_second_files_and_paths_that_lead_out() {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, EntryType::Symlink, "a.log", b"");
        add(&mut builder, EntryType::Link, "b.log", b"");
        add(&mut builder, EntryType::Char, "c.log", b"");
        add(&mut builder, EntryType::Fifo, "d.log", b"");
        add(&mut builder, EntryType::Regular, "/etc/e.log", b"x");
        add(&mut builder, EntryType::Regular, "n/../../f.log", b"x");
        add(&mut builder, EntryType::Regular, "g.log", b"first");
        add(&mut builder, EntryType::Regular, "g.log", b"second");
        add(&mut builder, EntryType::Regular, "h.log", &gzip(b"damaged")[..9]);
        add(&mut builder, EntryType::Regular, "i.tar.gz", &archive(&[("j.log", b"x")])[..30]);
        let read = read(&gzip(&builder.into_inner().unwrap())).unwrap();
        assert_eq!(read.files, [("g.log".to_owned(), b"first".to_vec())]);
        assert_eq!(
            read.left_out,
            [
                ("damaged archives", 1),
                ("damaged files", 1),
                ("files whose path is taken", 1),
                ("links and devices", 4),
                ("paths that lead out of the package", 2),
            ]
        );
    }

    fn refused(bytes: &[u8]) -> &'static str {
        match read(bytes) {
            Err(PackageError::Refused { why, .. }) => why,
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("it was read"),
        }
    }

    #[test]
    fn refuses_an_archive_that_decompresses_to_absurdly_many_bytes() {
        // 1.2 GiB of zeros in 1.2 MiB, as a member, in a compressed member, and in an archive in the archive.
        let zeros = vec![0; 16 << 20];
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..77 {
            bomb.write_all(&zeros).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        let why = "it decompresses to more than 300 times its size";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bomb.tar.gz");
        std::fs::write(&path, archive(&[("a.log.1.gz", &bomb)])).unwrap();
        let mut each = |_: &Member, bytes: &mut dyn Read| io::copy(bytes, &mut io::sink()).map(drop);
        let error = Package::new(path).visit(&mut |_| true, &mut each).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn refuses_headers_of_absurd_length_and_sparse_files() {
        let with = |kind, bytes: &[u8]| {
            let mut builder = tar::Builder::new(Vec::new());
            add(&mut builder, kind, "a.log", bytes);
            gzip(&builder.into_inner().unwrap())
        };
        let long = vec![b'x'; 65 << 10];
        assert_eq!(refused(&with(EntryType::GNULongName, &long)), "a header in it is longer than 64 KiB");
        assert_eq!(refused(&with(EntryType::XHeader, &long)), "a header in it is longer than 64 KiB");
        assert_eq!(refused(&with(EntryType::XHeader, b"11 size=99\n")), "a file in it is larger than 8 GiB");
        assert_eq!(refused(&with(EntryType::GNUSparse, b"")), "it has sparse files");
    }

    #[test]
    fn reads_archives_in_archives_to_a_depth() {
        let mut bytes = archive(&[("a.log", b"deep")]);
        for depth in 2..=5 {
            bytes = archive(&[("x.tgz", &bytes)]);
            let read = read(&bytes).unwrap();
            assert_eq!(read.files.len(), usize::from(depth <= 4), "{depth}");
        }
    }

    #[test]
    fn names_nodes_by_their_folders() {
        let nodes = |folders: &[&str]| {
            let folders: BTreeSet<_> = folders.iter().map(|folder| (*folder).to_owned()).collect();
            nodes(&folders).into_values().collect::<Vec<_>>()
        };
        assert_eq!(nodes(&["d/node_1/logs", "d/node_2/node_2/logs"]), ["node_1", "node_2"]);
        assert_eq!(nodes(&["d/node_1/logs", "d/Node-2/a/b"]), ["Node-2", "node_1"]);
        assert_eq!(nodes(&["d/rec-0/logs", "d/rec-1/logs"]), ["rec-0", "rec-1"]);
        // One node has no folder of its own.
        assert_eq!(nodes(&["debuginfo/logs"]), [""]);
        assert_eq!(nodes(&["", "old"]), ["", "old"]);
    }

    proptest! {
        #[test]
        fn never_panics_and_ends_whatever_an_archive_holds(
            at in 0..4000_usize,
            noise in proptest::collection::vec(any::<u8>(), 1..64),
            cut in 0..5000_usize,
        ) {
            let mut builder = tar::Builder::new(Vec::new());
            add(&mut builder, EntryType::XHeader, "x", b"14 path=a.log\n");
            add(&mut builder, EntryType::Regular, "b.log", &[b'x'; 700]);
            add(&mut builder, EntryType::Regular, "c.tar", &[0; 600]);
            let mut bytes = builder.into_inner().unwrap();
            for (place, noise) in bytes.iter_mut().skip(at).zip(noise) {
                *place = noise;
            }
            bytes.truncate(cut);
            let _ = read(&bytes);
            let _ = read(&gzip(&bytes));
        }
    }
}
