//! The pieces of a batch that Loki does not accept as a whole: halves, without metadata, or without a rejected entry.
//!
//! Pieces keep the order, timestamps and texts of the entries, so that Loki collapses entries that it already stores.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::decode::{DecodeError, Entry, PushRequest, Stream};
use super::rejections::Reason;

/// The pieces of a batch that are not stored yet.
#[derive(Debug)]
pub(super) struct Pieces {
    whole: Bytes,
    entries: usize,
    /// The decoded batch, once it must be changed.
    request: Option<PushRequest>,
    stripped: bool,
    /// The entries of each piece. The next piece is last.
    waiting: Vec<Range<usize>>,
    /// The body of the next piece.
    body: Option<Bytes>,
    /// Whether Loki has stored a piece of this batch.
    proven: bool,
    /// The entries that Loki refused alone before it stored any other entry: their indexes and reasons.
    suspects: Vec<(usize, Reason)>,
    /// Loki's answer to the last suspect.
    refusal: String,
    /// How many passes over the batch found no entry that Loki stores.
    fruitless: u32,
    since: Instant,
}

impl Pieces {
    /// Begins with a batch of `entries` entries, in one piece.
    pub(super) fn new(whole: Bytes, entries: usize) -> Self {
        let mut pieces = Self {
            whole,
            entries,
            request: None,
            stripped: false,
            waiting: Vec::new(),
            body: None,
            proven: false,
            suspects: Vec::new(),
            refusal: String::new(),
            fruitless: 0,
            since: Instant::now(),
        };
        pieces.begin();
        pieces
    }

    /// The body to push next. `None` once nothing is left.
    pub(super) fn body(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some(range) = self.waiting.last().cloned() else { return Ok(None) };
        if self.body.is_none() {
            let unchanged = !self.stripped && range.len() == self.entries;
            self.body = Some(if unchanged { self.whole.clone() } else { self.encode(range)? });
        }
        Ok(self.body.clone())
    }

    /// How many entries the next piece holds.
    pub(super) fn entries(&self) -> usize {
        self.waiting.last().map_or(0, ExactSizeIterator::len)
    }

    /// How many entries the batch holds.
    pub(super) fn all_entries(&self) -> usize {
        self.entries
    }

    /// Records that Loki has stored the next piece, except for rejected entries.
    pub(super) fn stored(&mut self) {
        self.proven = true;
        self.next();
    }

    /// Splits the next piece in two. Returns false for a single entry.
    pub(super) fn split(&mut self) -> bool {
        let Some(range) = self.waiting.pop_if(|range| range.len() > 1) else { return false };
        let middle = range.start + range.len() / 2;
        self.waiting.extend([middle..range.end, range.start..middle]);
        self.body = None;
        true
    }

    /// Removes structured metadata from all pieces. Returns false if it is already removed.
    pub(super) fn strip(&mut self) -> bool {
        self.body = None;
        !std::mem::replace(&mut self.stripped, true)
    }

    /// Whether Loki has stored a piece of this batch. If so, a refusal of one entry concerns only this entry.
    pub(super) fn are_proven(&self) -> bool {
        self.proven
    }

    /// How long ago the first push of the batch was.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How many passes over the batch found no entry that Loki stores.
    pub(super) fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// Moves the next piece, a single refused entry, to the suspects. Returns how many there are now.
    pub(super) fn suspect(&mut self, reason: Reason, answer: &str) -> usize {
        self.suspects.extend(self.waiting.last().map(|range| (range.start, reason)));
        answer.clone_into(&mut self.refusal);
        self.next();
        self.suspects.len()
    }

    /// Removes the suspects, and returns them.
    pub(super) fn take_suspects(&mut self) -> Vec<(usize, Reason)> {
        std::mem::take(&mut self.suspects)
    }

    /// Loki's answer to the last suspect.
    pub(super) fn refusal(&self) -> &str {
        &self.refusal
    }

    /// The entry at this index of the batch.
    pub(super) fn entry(&mut self, at: usize) -> Option<&Entry> {
        self.stream().ok()??.entries.get(at)
    }

    /// The entry of the next piece that Loki most likely rejected for this reason.
    pub(super) fn likely(&mut self, reason: Reason) -> Option<&Entry> {
        let range = self.waiting.last().cloned()?;
        let entries = self.stream().ok()??.entries.get(range)?;
        match reason {
            Reason::TooOld | Reason::TooFarBehind | Reason::OutOfOrder => {
                entries.iter().min_by_key(|entry| entry.nanos())
            }
            Reason::TooNew => entries.iter().max_by_key(|entry| entry.nanos()),
            Reason::LineTooLong | Reason::TooLarge => entries.iter().max_by_key(|entry| entry.line.len()),
            Reason::LabelLimit | Reason::Other => entries.first(),
        }
    }

    /// Frees the decoded batch. It can be decoded again.
    pub(super) fn put_away(&mut self) {
        self.request = None;
        self.body = None;
    }

    /// Starts the batch again in one piece, because the fault is in the request. Stored entries are resent, and Loki
    /// collapses them.
    pub(super) fn restart(&mut self) {
        self.proven = false;
        self.begin();
    }

    /// Starts the batch again after a pass that found no entry that Loki stores.
    pub(super) fn restart_fruitless(&mut self) {
        self.fruitless = self.fruitless.saturating_add(1);
        self.restart();
    }

    #[expect(clippy::single_range_in_vec_init, reason = "one piece that is a range")]
    fn begin(&mut self) {
        self.waiting = vec![0..self.entries];
        self.suspects.clear();
        self.body = None;
    }

    fn next(&mut self) {
        self.waiting.pop();
        self.body = None;
    }

    fn stream(&mut self) -> Result<Option<&Stream>, DecodeError> {
        if self.request.is_none() {
            self.request = Some(PushRequest::read(&self.whole)?);
        }
        Ok(self.request.as_ref().and_then(|request| request.streams.first()))
    }

    fn encode(&mut self, range: Range<usize>) -> Result<Bytes, DecodeError> {
        let stripped = self.stripped;
        let Some(stream) = self.stream()? else { return Ok(Bytes::new()) };
        let mut entries = stream.entries.get(range).unwrap_or_default().to_vec();
        if stripped {
            for entry in &mut entries {
                entry.metadata.clear();
            }
        }
        Ok(PushRequest { streams: vec![Stream { labels: stream.labels.clone(), entries }] }.body()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuffer;
    use crate::push::decode::{PushedStream, decode};

    fn batch(entries: i64) -> Bytes {
        let mut buffer = BatchBuffer::new(1 << 20);
        buffer.start(r#"{job="a"}"#, "a.log");
        for time in 0..entries {
            buffer.push(time, format!("line {time}").as_bytes(), None);
        }
        buffer.seal(r#"{job="a"}"#).0
    }

    fn pushed(pieces: &mut Pieces) -> Option<PushedStream> {
        Some(decode(&pieces.body().unwrap()?).unwrap().remove(0))
    }

    #[test]
    fn pushes_the_same_bytes_if_nothing_must_change() {
        let whole = batch(3);
        assert_eq!(Pieces::new(whole.clone(), 3).body().unwrap(), Some(whole));
    }

    #[test]
    fn splits_in_order_and_loses_no_entry() {
        let whole = decode(&batch(5)).unwrap().remove(0);
        let (mut pieces, mut entries, mut metadata) = (Pieces::new(batch(5), 5), Vec::new(), Vec::new());
        assert!(pieces.split() && pieces.split());
        while let Some(piece) = pushed(&mut pieces) {
            assert_eq!((&piece.labels, piece.entries.len()), (&whole.labels, pieces.entries()));
            entries.extend(piece.entries);
            metadata.extend(piece.metadata);
            pieces.stored();
        }
        assert_eq!((entries, metadata), (whole.entries, whole.metadata));
    }

    #[test]
    fn does_not_split_a_single_entry() {
        let mut pieces = Pieces::new(batch(1), 1);
        assert!(!pieces.split());
        assert_eq!(pushed(&mut pieces).unwrap().entries.len(), 1);
    }

    #[test]
    fn removes_metadata_and_nothing_else() {
        let mut pieces = Pieces::new(batch(2), 2);
        assert!(pieces.strip());
        assert!(!pieces.strip());
        let piece = pushed(&mut pieces).unwrap();
        assert_eq!(piece.metadata, [vec![], vec![]]);
        assert_eq!(piece.entries, [(0, "line 0".to_owned()), (1, "line 1".to_owned())]);
    }
}
