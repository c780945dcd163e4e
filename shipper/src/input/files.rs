//! What a person names: a directory, files, standard input. All of it becomes a list of files in the order of reading.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::discover::{Discovery, Found, rotation};

/// The name for standard input on the command line.
pub(crate) const STDIN: &str = "-";
/// How gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How many bytes of a compressed file are read at once.
const STEP: usize = 64 << 10;

/// One file.
#[derive(Debug)]
pub(crate) struct InputFile {
    /// As it is shown.
    pub(crate) shown: String,
    /// The name of the live file: the files of one log file share it.
    pub(crate) live: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Stdin,
    Path(PathBuf),
    /// A file of a listed directory, which may lead nowhere else.
    Listed(Discovery, Found),
}

impl InputFile {
    /// Standard input, with the lines of a file of this name.
    fn stdin(name: &str) -> Self {
        Self { shown: STDIN.to_owned(), live: name.to_owned(), source: Source::Stdin }
    }

    fn path(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let live = rotation(&name).map_or_else(|| name.strip_suffix(".gz").unwrap_or(&name), |(live, _)| live);
        Self { shown: path.display().to_string(), live: live.to_owned(), source: Source::Path(path.to_owned()) }
    }

    fn listed(discovery: &Discovery, found: Found) -> Self {
        let live = rotation(&found.name).map_or(found.name.as_str(), |(live, _)| live).to_owned();
        Self { shown: found.name.clone(), live, source: Source::Listed(discovery.clone(), found) }
    }

    /// Whether it is standard input, which may wait for its writer.
    pub(crate) fn is_stdin(&self) -> bool {
        matches!(self.source, Source::Stdin)
    }

    /// Opens it. Returns its bytes, decompressed if they are gzip's, and its last modification in nanoseconds since 1970 UTC.
    pub(crate) fn open(&self) -> std::io::Result<(Box<dyn Read>, Option<i64>)> {
        let file = match &self.source {
            Source::Stdin => return Ok((decompressed(std::io::stdin())?, None)),
            Source::Path(path) => File::open(path)?,
            Source::Listed(discovery, found) => discovery
                .open(found)?
                .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "another file took its place"))?,
        };
        let metadata = file.metadata()?;
        let modified = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok((decompressed(file)?, Some(modified)))
    }
}

fn decompressed(source: impl Read + 'static) -> std::io::Result<Box<dyn Read>> {
    let mut source = BufReader::with_capacity(STEP, source);
    let is_gzip = source.fill_buf()?.starts_with(&GZIP);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) })
}

/// The files of `paths` in the order of reading, or those of the directory of `discovery` if there are none. The globs of
/// `discovery` choose the files of a directory; a file that is named itself is always read.
pub(crate) fn list(paths: &[PathBuf], discovery: &Discovery, stdin_name: &str) -> std::io::Result<Vec<InputFile>> {
    if paths.is_empty() {
        return of_directory(discovery);
    }
    let (mut files, mut named) = (Vec::new(), Vec::new());
    for path in paths {
        if path.as_os_str() == STDIN {
            files.push(InputFile::stdin(stdin_name));
        } else if path.is_dir() {
            files.append(&mut of_directory(&discovery.of_dir(path.clone()))?);
        } else {
            named.push(path);
        }
    }
    named.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (path.parent().map(Path::to_owned), order(&name))
    });
    files.extend(named.into_iter().map(|path| InputFile::path(path)));
    Ok(files)
}

fn of_directory(discovery: &Discovery) -> std::io::Result<Vec<InputFile>> {
    let mut found = discovery.list()?;
    found.retain(|found| discovery.is_stream(rotation(&found.name).map_or(&found.name, |(live, _)| live)));
    found.sort_by_cached_key(|found| order(&found.name));
    Ok(found.into_iter().map(|found| InputFile::listed(discovery, found)).collect())
}

/// By log file, the oldest first: the highest number of a rotated file first, the live file last.
pub(crate) fn order(name: &str) -> (String, Reverse<u32>) {
    let (live, number) = rotation(name).unwrap_or((name, 0));
    (live.to_owned(), Reverse(number))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use globset::Glob;

    use super::*;

    fn write(path: &Path, text: &str) {
        let file = File::create(path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            GzEncoder::new(file, Compression::fast()).write_all(text.as_bytes()).unwrap();
        } else {
            (&file).write_all(text.as_bytes()).unwrap();
        }
    }

    fn text(file: &InputFile) -> String {
        let mut text = String::new();
        file.open().unwrap().0.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn reads_a_directory_by_log_file_and_the_oldest_rotated_file_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.log", "a.log.1", "a.log.2.gz", "a.log.10.gz", "b.log", "c.txt", "c.txt.1"] {
            write(&dir.path().join(name), name);
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("d.log")).unwrap();
        let discovery = Discovery::new(dir.path().to_owned(), &[Glob::new("*.log").unwrap()], &[]).unwrap();
        let expected = ["a.log.10.gz", "a.log.2.gz", "a.log.1", "a.log", "b.log"];
        let files = list(&[], &discovery, "stdin.log").unwrap();
        assert_eq!(files.iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(
            files.iter().map(|file| &*file.live).collect::<Vec<_>>(),
            ["a.log", "a.log", "a.log", "a.log", "b.log"]
        );
        // The same files named one by one, and one that the globs do not match.
        let paths: Vec<_> =
            ["c.txt", "b.log", "a.log.2.gz", "a.log"].iter().map(|name| dir.path().join(name)).collect();
        let files = list(&paths, &discovery, "stdin.log").unwrap();
        assert_eq!(files.iter().map(text).collect::<Vec<_>>(), ["a.log.2.gz", "a.log", "b.log", "c.txt"]);
    }
}
