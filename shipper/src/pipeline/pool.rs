//! How much memory the pipeline's buffers take. The sizes are fixed, however much there is to ship.

use crate::tail::TailSettings;

/// How many batches wait while one is pushed. One is enough for reading and pushing to overlap.
pub(crate) const WAITING_BATCHES: usize = 1;

/// How many sealed batches exist at a time: one that is pushed, the waiting ones, and one that the reader holds until the
/// channel has room.
const SEALED: usize = 1 + WAITING_BATCHES + 1;

/// The size of all buffers: the read buffer, the window of an archive that is decompressed, the open batch, the buffer in which
/// it is compressed, and the sealed batches.
///
/// The process needs about 4 MiB more, for code, TLS, the runtime and the positions. A batch that is pushed in pieces is also
/// held decoded.
pub(super) fn bytes(settings: &TailSettings) -> usize {
    // The first line of a batch always fits. A long line makes the batch larger than its limit.
    let batch = settings.batch_bytes.max(settings.max_line);
    // A text without its secrets, and one that the line limit cut together with the bytes before it.
    let redaction = if settings.redaction.on { 2 * settings.max_line } else { 0 };
    settings.chunk_bytes()
        + settings.archive_bytes()
        + redaction
        + batch
        + (1 + SEALED) * snap::raw::max_compress_len(batch)
}
