//! Where the entries of a preview go: a view, until the limit.

use clap::ValueEnum;

use crate::extract::{Entry, Sink, Skipped};
use crate::input::InputFile;

/// How entries are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people, with colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// What shows entries.
pub(super) trait View {
    /// A file begins. `labels` are those of its stream, as names and values.
    fn begin(&mut self, file: &InputFile, labels: Vec<(String, String)>);
    /// An entry, or one that is not pushed.
    fn entry(&mut self, entry: &Entry<'_>, skipped: Option<Skipped>) -> std::io::Result<()>;
    /// A file is read to its end, or as far as it is shown.
    fn end(&mut self) -> std::io::Result<()>;
    /// No file follows.
    fn finish(&mut self) -> std::io::Result<()> {
        self.flush()
    }
    /// Writes what is buffered.
    fn flush(&mut self) -> std::io::Result<()>;
}

/// Shows entries until the limit.
#[derive(Debug)]
pub(super) struct Limited<V> {
    pub(super) view: V,
    pub(super) left: u64,
    /// Why the view failed.
    pub(super) failed: Option<std::io::Error>,
}

impl<V: View> Limited<V> {
    /// Shows at most `limit` entries.
    pub(super) fn new(view: V, limit: Option<u64>) -> Self {
        Self { view, left: limit.unwrap_or(u64::MAX), failed: None }
    }

    fn take(&mut self, entry: &Entry<'_>, skipped: Option<Skipped>) {
        // Skipped entries come without being asked whether there is room.
        if self.left == 0 || self.failed.is_some() {
            return;
        }
        self.left -= 1;
        self.failed = self.view.entry(entry, skipped).err();
    }
}

impl<V: View> Sink for Limited<V> {
    fn has_room_for(&self, _len: usize) -> bool {
        self.left > 0 && self.failed.is_none()
    }

    fn push(&mut self, entry: &Entry<'_>) -> bool {
        self.take(entry, None);
        str::from_utf8(entry.line).is_err()
    }

    fn skip(&mut self, entry: &Entry<'_>, why: Skipped) {
        self.take(entry, Some(why));
    }
}
