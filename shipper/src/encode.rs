//! Encodes Loki's push request directly into the batch's buffer.
//!
//! ```text
//! PushRequest  { streams = 1 }         one stream per request: Loki reports only the last stream's result
//! Stream       { labels = 1, entries = 2 }
//! Entry        { timestamp = 1 { seconds = 1, nanos = 2 }, line = 2, metadata = 3 }
//! Metadata     { name = 1, value = 2 }
//! ```
//!
//! The lengths of the two outer messages are known last, so the buffer reserves room for them at its start. Metadata has few
//! values, so each is encoded once and copied.

use crate::formats::MAX_BDB_DIGITS;

const NANOS: i64 = 1_000_000_000;
/// The longest length prefix: batches are far below 2^35 bytes.
const MAX_LEN: usize = 5;
/// The longest timestamp: the seconds before 1970 take ten bytes.
const MAX_TIMESTAMP: usize = 1 + 10 + 1 + MAX_LEN;
/// The longest beginning of an entry, up to its line.
const MAX_BEGINNING: usize = 1 + MAX_LEN + 1 + 1 + MAX_TIMESTAMP + 1 + MAX_LEN;

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

/// The room for the heads of the two outer messages.
pub(crate) fn room_for_head(labels: &str) -> usize {
    1 + MAX_LEN + 1 + MAX_LEN + labels.len()
}

/// Appends one entry with metadata that [`metadata`] encoded, and with the id of a database.
pub(crate) fn entry(buffer: &mut Vec<u8>, time: i64, line: &[u8], metadata: &[u8], bdb: Option<&[u8]>) {
    let (seconds, nanos) = split(time);
    let timestamp_len = 1 + varint_len(seconds) + if nanos == 0 { 0 } else { 1 + varint_len(nanos) };
    let line_len = line.len() as u64;
    let bdb = bdb.map(self::bdb);
    let bdb = bdb.as_ref().map_or(&[][..], |(bdb, len)| bdb.get(..*len).unwrap_or_default());
    let len = 1 + 1 + timestamp_len + 1 + varint_len(line_len) + line.len() + metadata.len() + bdb.len();
    // A buffer of fixed size needs no check for room on each byte.
    let mut beginning = Beginning { bytes: [0; MAX_BEGINNING], len: 0 };
    beginning.byte(ENTRY);
    beginning.varint(len as u64);
    beginning.byte(TIMESTAMP);
    beginning.varint(timestamp_len as u64);
    beginning.byte(SECONDS);
    beginning.varint(seconds);
    if nanos != 0 {
        beginning.byte(NANOSECONDS);
        beginning.varint(nanos);
    }
    beginning.byte(LINE);
    beginning.varint(line_len);
    buffer.reserve(MAX_BEGINNING + line.len() + metadata.len() + bdb.len());
    buffer.extend_from_slice(beginning.bytes.get(..beginning.len).unwrap_or_default());
    buffer.extend_from_slice(line);
    buffer.extend_from_slice(metadata);
    buffer.extend_from_slice(bdb);
}

/// An entry up to its line.
struct Beginning {
    bytes: [u8; MAX_BEGINNING],
    len: usize,
}

impl Beginning {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low seven bits are needed")]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte((value as u8) | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }
}

/// Encodes one pair of an entry's structured metadata.
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

/// The longest pair that [`bdb`] encodes.
pub(crate) const MAX_BDB: usize = 9 + MAX_BDB_DIGITS;

/// Encodes the pair of a database's id, of at most [`MAX_BDB_DIGITS`] digits. Returns the pair and its length. There are many
/// ids, so the pair is on the stack.
fn bdb(id: &[u8]) -> ([u8; MAX_BDB], usize) {
    let mut field = [METADATA, 0, NAME, 3, b'b', b'd', b'b', VALUE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let len = id.len().min(MAX_BDB_DIGITS);
    let short = u8::try_from(len).unwrap_or_default();
    (field[1], field[8]) = (short + 7, short);
    field.iter_mut().skip(9).zip(id).for_each(|(place, digit)| *place = *digit);
    (field, 9 + len)
}

/// The most that [`entry`] appends for a line of this length without metadata.
pub(crate) fn entry_len(line: usize) -> usize {
    MAX_BEGINNING + line
}

/// Writes the heads of the outer messages into the room before the entries. Returns the start of the request.
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

/// Seconds and nanoseconds of protobuf's Timestamp. Negative seconds become varints of ten bytes.
#[expect(clippy::cast_sign_loss, reason = "protobuf writes a negative int64 as its two's complement")]
fn split(time: i64) -> (u64, u64) {
    (time.div_euclid(NANOS) as u64, time.rem_euclid(NANOS) as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "only the low seven bits are needed")]
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
