//! Loki's push request, written straight into the batch's buffer.
//!
//! ```text
//! PushRequest  { streams = 1 }         one stream a request: Loki reports only the last stream's result
//! Stream       { labels = 1, entries = 2 }
//! Entry        { timestamp = 1 { seconds = 1, nanos = 2 }, line = 2, metadata = 3 }
//! Metadata     { name = 1, value = 2 }
//! ```
//!
//! The lengths of the two outer messages are known last, so room is left for them in front. Metadata takes few values,
//! so each is encoded once and copied.

use crate::formats::MAX_BDB_DIGITS;

const NANOS: i64 = 1_000_000_000;
/// A length prefix is at most this long: batches are far below 2^35 bytes.
const MAX_LEN: usize = 5;

const STREAM: u8 = 0x0a;
const LABELS: u8 = 0x0a;
const ENTRY: u8 = 0x12;
const TIMESTAMP: u8 = 0x0a;
const LINE: u8 = 0x12;
const METADATA: u8 = 0x1a;
const NAME: u8 = 0x0a;
const VALUE: u8 = 0x12;
const SECONDS: u8 = 0x08;
const NANOSECONDS: u8 = 0x10;

/// How much room the two outer messages' heads need at most.
pub(crate) fn room_for_head(labels: &str) -> usize {
    1 + MAX_LEN + 1 + MAX_LEN + labels.len()
}

/// Appends one entry with metadata that [`metadata`] encoded.
pub(crate) fn entry(buffer: &mut Vec<u8>, time: i64, line: &[u8], metadata: [&[u8]; 3]) {
    let (seconds, nanos) = split(time);
    let stamp_len = 1 + varint_len(seconds) + if nanos == 0 { 0 } else { 1 + varint_len(nanos) };
    let line_len = line.len() as u64;
    let metadata_len: usize = metadata.iter().map(|field| field.len()).sum();
    let len = 1 + 1 + stamp_len + 1 + varint_len(line_len) + line.len() + metadata_len;
    buffer.push(ENTRY);
    varint(buffer, len as u64);
    buffer.push(TIMESTAMP);
    varint(buffer, stamp_len as u64);
    buffer.push(SECONDS);
    varint(buffer, seconds);
    if nanos != 0 {
        buffer.push(NANOSECONDS);
        varint(buffer, nanos);
    }
    buffer.push(LINE);
    varint(buffer, line_len);
    buffer.extend_from_slice(line);
    for field in metadata {
        buffer.extend_from_slice(field);
    }
}

/// One pair of an entry's structured metadata.
pub(crate) fn metadata(name: &str, value: &str) -> Vec<u8> {
    let mut pair = Vec::new();
    for (tag, text) in [(NAME, name), (VALUE, value)] {
        pair.push(tag);
        varint(&mut pair, text.len() as u64);
        pair.extend_from_slice(text.as_bytes());
    }
    let mut field = vec![METADATA];
    varint(&mut field, pair.len() as u64);
    field.append(&mut pair);
    field
}

/// The longest pair that [`bdb`] writes.
pub(crate) const MAX_BDB: usize = 9 + MAX_BDB_DIGITS;

/// The pair of a database's id, which has at most [`MAX_BDB_DIGITS`] digits, and how long the pair is. Ids are many, so nothing is
/// allocated for one.
pub(crate) fn bdb(id: &[u8]) -> ([u8; MAX_BDB], usize) {
    let mut field = [METADATA, 0, NAME, 3, b'b', b'd', b'b', VALUE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let len = id.len().min(MAX_BDB_DIGITS);
    let short = u8::try_from(len).unwrap_or_default();
    (field[1], field[8]) = (short + 7, short);
    field.iter_mut().skip(9).zip(id).for_each(|(place, digit)| *place = *digit);
    (field, 9 + len)
}

/// At most how much [`entry`] appends for a line of this length without metadata.
pub(crate) fn entry_len(line: usize) -> usize {
    line + 1 + MAX_LEN + 1 + 1 + 1 + 10 + 1 + MAX_LEN + 1 + MAX_LEN
}

/// Writes the outer messages' heads into the room left in front of the entries, and returns where the request starts.
pub(crate) fn head(buffer: &mut [u8], labels: &str, room: usize) -> usize {
    let entries = buffer.len() - room;
    let mut label_field = Vec::with_capacity(room);
    label_field.push(LABELS);
    varint(&mut label_field, labels.len() as u64);
    label_field.extend_from_slice(labels.as_bytes());
    let mut head = vec![STREAM];
    varint(&mut head, (label_field.len() + entries) as u64);
    head.extend_from_slice(&label_field);
    let start = room.saturating_sub(head.len());
    if let Some(place) = buffer.get_mut(start..room) {
        place.copy_from_slice(&head);
    }
    start
}

/// Seconds and nanoseconds as protobuf's Timestamp has them, negative seconds as ten-byte varints.
#[expect(clippy::cast_sign_loss, reason = "protobuf writes a negative int64 as its two's complement")]
fn split(time: i64) -> (u64, u64) {
    (time.div_euclid(NANOS) as u64, time.rem_euclid(NANOS) as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
fn varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push((value as u8) | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
