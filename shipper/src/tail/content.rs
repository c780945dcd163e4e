//! The bytes of a generation: a plain file, or the decompressed content of an archive.
//!
//! An archive reads like the file it was made from. Nothing is written to disk. The archive is decompressed from its start
//! again if the reader goes back further than the remembered bytes, or has released the decoder.

use std::fs::{File, Metadata};
use std::io::{BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// This many bytes are decompressed at once.
const STEP: usize = 32 << 10;
/// The memory of the decoder: the window and tables of deflate, and its read buffer.
const DECODER: usize = 64 << 10;

/// An open file.
#[derive(Debug)]
pub(super) enum Content {
    /// A plain file.
    Plain(File),
    /// An archive. It is complete, and nobody writes to it.
    Gzip(Box<Gzip>),
}

impl Content {
    /// The content of a plain file.
    pub(super) fn plain(file: File) -> Self {
        Self::Plain(file)
    }

    /// The content of an archive.
    pub(super) fn gzip(file: File) -> Self {
        Self::Gzip(Box::new(Gzip { file, len: OnceLock::new(), decoder: Mutex::new(None) }))
    }

    /// The metadata of the file on disk.
    pub(super) fn metadata(&self) -> std::io::Result<Metadata> {
        match self {
            Self::Plain(file) => file.metadata(),
            Self::Gzip(gzip) => gzip.file.metadata(),
        }
    }

    /// The number of bytes. An archive is decompressed once to count them. Fails if the archive is damaged or incomplete.
    pub(super) fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len()),
            Self::Gzip(gzip) => gzip.len(),
        }
    }

    /// Whether it is an archive, which never changes.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self, Self::Gzip(_))
    }

    /// The end of the hole at `position`, if there is one. The hole may reach the end of the file.
    pub(super) fn end_of_hole(&self, position: u64) -> std::io::Result<Option<u64>> {
        let Self::Plain(file) = self else { return Ok(None) };
        // Moving the descriptor's offset is safe: every read names its own position.
        match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(data) => Ok(Some(data).filter(|data| *data > position)),
            Err(Errno::NXIO) => Ok(Some(file.metadata()?.len()).filter(|end| *end > position)),
            // The file system does not support SEEK_DATA.
            Err(_) => Ok(None),
        }
    }

    /// Frees the memory of the decoder.
    pub(super) fn release_decoder(&self) {
        if let Self::Gzip(gzip) = self {
            gzip.decoder.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Whether it holds a decoder.
    #[cfg(test)]
    pub(super) fn has_decoder(&self) -> bool {
        matches!(self, Self::Gzip(gzip) if gzip.decoder.lock().unwrap().is_some())
    }

    /// The memory that one archive takes if at most `buffer` bytes are read at a time.
    pub(super) fn memory(buffer: usize) -> usize {
        buffer + 3 * STEP + DECODER
    }

    /// Reads until `buffer` is full or the content ends.
    pub(super) fn read_up_to(&self, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => read_up_to(file, buffer, position),
            Self::Gzip(gzip) => gzip.read_up_to(buffer, position),
        }
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], mut position: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                position += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// An archive.
#[derive(Debug)]
pub(super) struct Gzip {
    file: File,
    len: OnceLock<u64>,
    decoder: Mutex<Option<Decoder>>,
}

impl Gzip {
    fn len(&self) -> std::io::Result<u64> {
        if let Some(len) = self.len.get() {
            return Ok(*len);
        }
        let mut gzip = MultiGzDecoder::new(BufReader::with_capacity(STEP, At::start(&self.file)?));
        let len = std::io::copy(&mut gzip, &mut std::io::sink())?;
        Ok(*self.len.get_or_init(|| len))
    }

    fn read_up_to(&self, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
        let mut place = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        let decoder = match place.take() {
            Some(decoder) if decoder.start() <= position => decoder,
            _ => Decoder::new(&self.file)?,
        };
        let decoder = place.insert(decoder);
        decoder.skip_to(position)?;
        let read = decoder.read(buffer, position)?;
        // At its end the decoder is not needed any more.
        if self.len.get().is_some_and(|len| *len <= decoder.position) {
            decoder.gzip = None;
        }
        Ok(read)
    }
}

/// Decompresses up to a position, and remembers the last bytes.
#[derive(Debug)]
struct Decoder {
    /// `None` at the end of the archive.
    gzip: Option<MultiGzDecoder<BufReader<At>>>,
    position: u64,
    /// The last decompressed bytes, as many as one read returns: the reader goes back by the bytes it did not use.
    remembered: Vec<u8>,
    keep: usize,
}

impl Decoder {
    fn new(file: &File) -> std::io::Result<Self> {
        let gzip = MultiGzDecoder::new(BufReader::with_capacity(STEP, At::start(file)?));
        Ok(Self { gzip: Some(gzip), position: 0, remembered: Vec::new(), keep: 0 })
    }

    /// The position of the first remembered byte.
    fn start(&self) -> u64 {
        self.position - self.remembered.len() as u64
    }

    fn skip_to(&mut self, position: u64) -> std::io::Result<()> {
        let mut step = vec![0; STEP];
        while self.position < position {
            let most = usize::try_from(position - self.position).unwrap_or(STEP).min(STEP);
            if self.decode(step.get_mut(..most).unwrap_or_default())? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
        if buffer.len() > self.keep {
            self.keep = buffer.len();
            self.remembered.reserve_exact((self.keep + 2 * STEP).saturating_sub(self.remembered.len()));
        }
        let from = usize::try_from(position.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let known = self.remembered.get(from..).unwrap_or_default();
        let mut filled = known.len().min(buffer.len());
        if let (Some(place), Some(known)) = (buffer.get_mut(..filled), known.get(..filled)) {
            place.copy_from_slice(known);
        }
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let most = rest.len().min(STEP);
            match self.decode(rest.get_mut(..most).unwrap_or_default())? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Decompresses into `place`, at most one step, and remembers the bytes.
    fn decode(&mut self, place: &mut [u8]) -> std::io::Result<usize> {
        let Some(gzip) = &mut self.gzip else { return Ok(0) };
        let read = gzip.read(place)?;
        self.position += read as u64;
        // One more step is allowed, so that the bytes are not moved on every read.
        if self.remembered.len() > self.keep + STEP {
            self.remembered.drain(..self.remembered.len() - self.keep);
        }
        self.remembered.extend_from_slice(place.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Reads a file from its start without moving the descriptor's offset.
#[derive(Debug)]
struct At {
    file: File,
    position: u64,
}

impl At {
    fn start(file: &File) -> std::io::Result<Self> {
        Ok(Self { file: file.try_clone()?, position: 0 })
    }
}

impl std::io::Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// 2 MiB in which every four bytes hold their own index.
    fn bytes() -> Vec<u8> {
        (0..1_u32 << 19).flat_map(u32::to_be_bytes).collect()
    }

    fn compressed(bytes: &[u8]) -> File {
        let mut gzip = GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn reads_an_archive_like_the_file_it_was_made_from() {
        let bytes = bytes();
        let content = Content::gzip(compressed(&bytes));
        assert_eq!(content.len().unwrap(), bytes.len() as u64);
        let mut buffer = vec![0; 300_000];
        // Forward, back a bit, far back, up to the end, past the end.
        for position in [0, 250_000, 240_000, 1_500_000, 10, 1_900_000, 2_097_100, 2_097_152, 3_000_000] {
            let read = content.read_up_to(&mut buffer, position as u64).unwrap();
            let expected = bytes.get(position..).unwrap_or_default();
            assert!(buffer[..read] == expected[..expected.len().min(300_000)], "at {position}");
        }
    }

    #[test]
    fn refuses_an_archive_that_is_still_being_written() {
        let file = compressed(&bytes());
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        assert!(Content::gzip(file).len().is_err());
    }

    /// How many bytes are remembered, and how much memory they take.
    fn remembered(content: &Content) -> (usize, usize) {
        let Content::Gzip(gzip) = content else { panic!("not compressed") };
        let decoder = gzip.decoder.lock().unwrap();
        decoder.as_ref().map_or((0, 0), |decoder| (decoder.remembered.len(), decoder.remembered.capacity()))
    }

    #[test]
    fn remembers_as_many_bytes_as_one_read_returns_and_hardly_more() {
        for size in [1000, 64 << 10, 1 << 20] {
            let content = Content::gzip(compressed(&bytes()));
            let mut buffer = vec![0; size];
            for step in 0..bytes().len() / size {
                content.read_up_to(&mut buffer, (step * size) as u64).unwrap();
                let (remembered, memory) = remembered(&content);
                assert!(remembered >= size, "{remembered} of {size}");
                assert!(memory <= Content::memory(size) - DECODER, "{memory} for {size}");
            }
            content.release_decoder();
            assert_eq!(remembered(&content), (0, 0));
            assert_eq!(content.read_up_to(&mut buffer, 4).unwrap(), size);
            assert!(buffer[..4] == bytes()[4..8]);
        }
    }
}
