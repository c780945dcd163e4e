//! What of a batch is still to be pushed, when Loki does not take it as it is: in halves, without metadata, or without an
//! entry that nobody takes.
//!
//! Pieces keep the order of the entries, and their times and texts: Loki collapses what it has already.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::decode::{DecodeError, Entry, PushRequest, Stream};
use crate::rejections::Reason;

/// The rest of a batch.
#[derive(Debug)]
pub(super) struct Pieces {
    whole: Bytes,
    entries: usize,
    /// The batch read back, once it has to be changed.
    request: Option<PushRequest>,
    stripped: bool,
    /// The entries of each piece; the next one last.
    waiting: Vec<Range<usize>>,
    /// The body of the next piece.
    body: Option<Bytes>,
    /// Whether Loki has stored a piece of this batch.
    proven: bool,
    /// Entries that were refused all alone while nothing proved that others are taken.
    aside: Vec<(usize, Reason)>,
    /// The words with which that was said last.
    refusal: String,
    /// How often not one entry was found that is taken.
    in_vain: u32,
    since: Instant,
}

impl Pieces {
    /// A batch of so many entries, in one piece.
    pub(super) fn new(whole: Bytes, entries: usize) -> Self {
        let mut pieces = Self {
            whole,
            entries,
            request: None,
            stripped: false,
            waiting: Vec::new(),
            body: None,
            proven: false,
            aside: Vec::new(),
            refusal: String::new(),
            in_vain: 0,
            since: Instant::now(),
        };
        pieces.begin();
        pieces
    }

    /// The body to push next; `None` once nothing is left.
    pub(super) fn body(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some(range) = self.waiting.last().cloned() else { return Ok(None) };
        if self.body.is_none() {
            let unchanged = !self.stripped && range.len() == self.entries;
            self.body = Some(if unchanged { self.whole.clone() } else { self.made_anew(range)? });
        }
        Ok(self.body.clone())
    }

    /// How many entries it holds.
    pub(super) fn entries(&self) -> usize {
        self.waiting.last().map_or(0, ExactSizeIterator::len)
    }

    /// How many the batch holds.
    pub(super) fn all_entries(&self) -> usize {
        self.entries
    }

    /// The piece is stored, but for what was rejected.
    pub(super) fn stored(&mut self) {
        self.proven = true;
        self.next();
    }

    /// Makes two pieces of the next one; an entry all alone stays as it is, and that is returned.
    pub(super) fn split(&mut self) -> bool {
        let Some(range) = self.waiting.pop_if(|range| range.len() > 1) else { return false };
        let middle = range.start + range.len() / 2;
        self.waiting.extend([middle..range.end, range.start..middle]);
        self.body = None;
        true
    }

    /// Leaves structured metadata away; whether there was any left is returned.
    pub(super) fn strip(&mut self) -> bool {
        self.body = None;
        !std::mem::replace(&mut self.stripped, true)
    }

    /// Whether Loki has stored a piece of this batch, so that what it refuses is refused for its own sake.
    pub(super) fn are_proven(&self) -> bool {
        self.proven
    }

    /// For how long there has been something to push of it.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How often not one entry was found that is taken.
    pub(super) fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Leaves an entry that is refused all alone for later. How many there are now is returned.
    pub(super) fn set_aside(&mut self, reason: Reason, said: &str) -> usize {
        self.aside.extend(self.waiting.last().map(|range| (range.start, reason)));
        said.clone_into(&mut self.refusal);
        self.next();
        self.aside.len()
    }

    /// Those that were set aside, which are forgotten.
    pub(super) fn take_aside(&mut self) -> Vec<(usize, Reason)> {
        std::mem::take(&mut self.aside)
    }

    /// The words with which the last of them was refused.
    pub(super) fn refusal(&self) -> &str {
        &self.refusal
    }

    /// An entry.
    pub(super) fn entry(&mut self, at: usize) -> Option<&Entry> {
        self.stream().ok()??.entries.get(at)
    }

    /// The entry of the next piece that is most likely the one that was rejected for this reason.
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

    /// Lets go of what can be read back from the batch.
    pub(super) fn put_away(&mut self) {
        self.request = None;
        self.body = None;
    }

    /// All of the batch in one piece again, because the request and no entry is at fault. What was stored of it is pushed
    /// again, and Loki collapses it.
    pub(super) fn restart(&mut self) {
        self.proven = false;
        self.begin();
    }

    /// The same, because not one entry was found that is taken.
    pub(super) fn restart_in_vain(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.restart();
    }

    #[expect(clippy::single_range_in_vec_init, reason = "one piece that is a range")]
    fn begin(&mut self) {
        self.waiting = vec![0..self.entries];
        self.aside.clear();
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

    fn made_anew(&mut self, range: Range<usize>) -> Result<Bytes, DecodeError> {
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
    use crate::decode::{PushedStream, decode};

    fn batch(entries: i64) -> Bytes {
        let mut buffer = BatchBuffer::new(1 << 20);
        buffer.start(r#"{job="a"}"#, "a.log");
        for time in 0..entries {
            buffer.push(time, format!("line {time}").as_bytes());
        }
        buffer.seal(r#"{job="a"}"#).0
    }

    fn pushed(pieces: &mut Pieces) -> Option<PushedStream> {
        Some(decode(&pieces.body().unwrap()?).unwrap().remove(0))
    }

    #[test]
    fn pushes_the_very_bytes_while_nothing_has_to_be_changed() {
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
    fn splits_no_single_entry() {
        let mut pieces = Pieces::new(batch(1), 1);
        assert!(!pieces.split());
        assert_eq!(pushed(&mut pieces).unwrap().entries.len(), 1);
    }

    #[test]
    fn leaves_metadata_away_and_nothing_else() {
        let mut pieces = Pieces::new(batch(2), 2);
        assert!(pieces.strip());
        assert!(!pieces.strip());
        let piece = pushed(&mut pieces).unwrap();
        assert_eq!(piece.metadata, [vec![], vec![]]);
        assert_eq!(piece.entries, [(0, "line 0".to_owned()), (1, "line 1".to_owned())]);
    }
}
