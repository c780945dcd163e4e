//! What of a batch is still to be pushed, when Loki does not take it as it is: in halves, without metadata, or without an
//! entry that nobody takes.
//!
//! Pieces keep the order of the entries, and their times and texts: Loki collapses what it has already.

use std::ops::Range;

use bytes::Bytes;

use crate::decode::{DecodeError, Entry, PushRequest, Stream};

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
    aside: Vec<usize>,
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
        };
        pieces.restart();
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

    /// The piece is given up.
    pub(super) fn given_up(&mut self) {
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

    /// Leaves an entry that is refused all alone for later. How many there are now is returned.
    pub(super) fn set_aside(&mut self) -> usize {
        self.aside.extend(self.waiting.last().cloned().into_iter().flatten());
        self.next();
        self.aside.len()
    }

    /// How many were set aside.
    pub(super) fn aside(&self) -> usize {
        self.aside.len()
    }

    /// The first entry that was set aside, or else the first one of the next piece.
    pub(super) fn suspect(&mut self) -> Result<Option<&Entry>, DecodeError> {
        let at = self.aside.first().copied().or(self.waiting.last().map(|range| range.start));
        let stream = self.stream()?;
        Ok(at.and_then(|at| stream?.entries.get(at)))
    }

    /// Forgets those that were set aside.
    pub(super) fn clear_aside(&mut self) {
        self.aside.clear();
    }

    /// All of the batch in one piece again, because the request and no entry is at fault.
    #[expect(clippy::single_range_in_vec_init, reason = "one piece that is a range")]
    pub(super) fn restart(&mut self) {
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
