//! The lower bound: one thread does only the work that no shipper can avoid.
//!
//! It reads the files, finds the newlines, encodes each line with a timestamp as protobuf, compresses each push and encrypts it
//! as TLS does. It keeps no positions, parses no timestamps, sends nothing, and does not handle rotation.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::usage::Usage;

/// The bytes of one read.
const CHUNK: usize = 256 << 10;
/// The bytes of one push.
const PUSH: usize = 1 << 20;
/// The bytes of one TLS record.
const RECORD: usize = 16 << 10;

/// Does the work for every file of `dir` and returns its CPU time.
pub(crate) fn run(dir: &Path) -> anyhow::Result<Duration> {
    let mut worker = Worker::new()?;
    let before = Usage::of_this_thread()?.cpu;
    for entry in std::fs::read_dir(dir)? {
        worker.file(File::open(entry?.path())?)?;
    }
    Ok(Usage::of_this_thread()?.cpu.saturating_sub(before))
}

struct Worker {
    chunk: Vec<u8>,
    push: Vec<u8>,
    compressed: Vec<u8>,
    record: Vec<u8>,
    snappy: snap::raw::Encoder,
    key: LessSafeKey,
    records: u64,
}

impl Worker {
    fn new() -> anyhow::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok().context("32 bytes are a key")?;
        Ok(Self {
            chunk: vec![0; CHUNK],
            push: Vec::with_capacity(2 * PUSH),
            compressed: vec![0; snap::raw::max_compress_len(2 * PUSH)],
            record: Vec::with_capacity(RECORD),
            snappy: snap::raw::Encoder::new(),
            key: LessSafeKey::new(key),
            records: 0,
        })
    }

    fn file(&mut self, mut file: File) -> anyhow::Result<()> {
        let (mut kept, mut time) = (0, 1_771_626_660_000_000_000_u64);
        loop {
            let read = file.read(self.chunk.get_mut(kept..).unwrap_or_default())?;
            if read == 0 {
                return self.seal();
            }
            let filled = kept + read;
            let mut start = 0;
            while let Some(length) = memchr::memchr(b'\n', self.chunk.get(start..filled).unwrap_or_default()) {
                let line = self.chunk.get(start..start + length).unwrap_or_default();
                time += 1;
                entry(&mut self.push, time, line);
                start += length + 1;
                if self.push.len() >= PUSH {
                    self.seal()?;
                }
            }
            self.chunk.copy_within(start..filled, 0);
            kept = filled - start;
        }
    }

    fn seal(&mut self) -> anyhow::Result<()> {
        let compressed = self.snappy.compress(&self.push, &mut self.compressed)?;
        self.push.clear();
        for part in self.compressed.get(..compressed).unwrap_or_default().chunks(RECORD) {
            self.records += 1;
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&self.records.to_be_bytes());
            self.record.clear();
            self.record.extend_from_slice(part);
            let sealed =
                self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut self.record);
            sealed.ok().context("a record is short enough to be encrypted")?;
        }
        Ok(())
    }
}

/// `EntryAdapter { timestamp = 1 { seconds = 1, nanos = 2 }, line = 2 }`, as field 2 of its stream.
fn entry(push: &mut Vec<u8>, time: u64, line: &[u8]) {
    let mut stamp = [0; 16];
    let mut rest = &mut stamp[..];
    encode_key(1, WireType::Varint, &mut rest);
    encode_varint(time / 1_000_000_000, &mut rest);
    encode_key(2, WireType::Varint, &mut rest);
    encode_varint(time % 1_000_000_000, &mut rest);
    let stamp_len = 16 - rest.len();
    let length = line.len() as u64;
    let of_length = prost::encoding::encoded_len_varint(length);
    encode_key(2, WireType::LengthDelimited, push);
    encode_varint((2 + stamp_len + 1 + of_length) as u64 + length, push);
    encode_key(1, WireType::LengthDelimited, push);
    encode_varint(stamp_len as u64, push);
    push.extend_from_slice(stamp.get(..stamp_len).unwrap_or_default());
    encode_key(2, WireType::LengthDelimited, push);
    encode_varint(length, push);
    push.extend_from_slice(line);
}
