//! How much memory the pipeline holds: a few buffers of known sizes, whatever there is to ship.

use super::WAITING_BATCHES;
use crate::tail::TailSettings;

/// Sealed batches there may be at a time: one that is being pushed, those that wait, and one that the reader holds until
/// there is room for it.
const SEALED: usize = 1 + WAITING_BATCHES + 1;

/// The size of all buffers: what is read at a time, what is remembered of an archive that is decompressed, the batch that is
/// being made, and the sealed ones.
///
/// It is not all the process takes (code, TLS, the runtime and the positions come on top, about 4 MiB), and a batch that
/// Loki wants in pieces is read back for as long as that takes.
pub(super) fn bytes(settings: &TailSettings) -> usize {
    // The first line of a batch always fits, so that a long one may make it larger than it should be.
    let batch = settings.batch_bytes.max(settings.max_line);
    settings.chunk_bytes() + settings.archive_bytes() + batch + SEALED * snap::raw::max_compress_len(batch)
}
