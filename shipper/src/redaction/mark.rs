//! The mark that replaces a secret. It shows the class of the secret's length.

use super::window::Span;

/// The beginning of every mark.
pub(super) const START: &[u8] = b"[redacted:";
/// The longest mark.
pub(super) const LONGEST: usize = START.len() + 6;

/// The shortest length of each class, and how the mark shows the class.
const CLASSES: [(usize, &[u8]); 5] = [(64, b"64+"), (32, b"32-63"), (16, b"16-31"), (8, b"8-15"), (0, b"1-7")];

/// Writes `text` to `out` and replaces its secrets. `spans` are sorted and do not overlap.
///
/// Marks may be longer than the secrets. If they made the text longer than `limit`, each secret becomes one star, so that Loki
/// does not reject the entry for its length.
pub(super) fn write(text: &[u8], spans: &[Span], limit: usize, out: &mut Vec<u8>) {
    let stars = marked_len(text, spans) > limit.max(text.len());
    out.clear();
    let mut at = 0;
    for span in spans {
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        if stars {
            out.push(b'*');
        } else {
            out.extend(span.quote);
            out.extend_from_slice(START);
            out.extend_from_slice(class(span));
            out.push(b']');
            out.extend(span.quote);
        }
        at = span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
}

fn marked_len(text: &[u8], spans: &[Span]) -> usize {
    let mark = |span: &Span| START.len() + class(span).len() + 1 + 2 * usize::from(span.quote.is_some());
    spans.iter().fold(text.len(), |len, span| len - (span.end - span.start) + mark(span))
}

fn class(span: &Span) -> &'static [u8] {
    let len = span.end - span.start;
    CLASSES.iter().find(|(least, _)| len >= *least).map_or(b"", |(_, class)| class)
}
