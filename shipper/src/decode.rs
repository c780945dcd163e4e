//! A push request read back, the way Loki reads it. For receivers in tests and in the demo; shipping never needs it.

use prost::Message as _;

const NANOS: i64 = 1_000_000_000;

/// Why a body is no push request.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not snappy's block format.
    #[error("failed to decompress the push request")]
    Snappy(#[from] snap::Error),
    /// Not the protobuf of a push request.
    #[error("failed to decode the push request")]
    Protobuf(#[from] prost::DecodeError),
}

/// A stream and its entries, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedStream {
    /// As in `{job="redis"}`.
    pub labels: String,
    /// Nanoseconds since 1970 UTC, and the line.
    pub entries: Vec<(i64, String)>,
}

/// Reads the body of a push.
pub fn decode(body: &[u8]) -> Result<Vec<PushedStream>, DecodeError> {
    let raw = snap::raw::Decoder::new().decompress_vec(body)?;
    let streams = PushRequest::decode(raw.as_slice())?.streams;
    Ok(streams.into_iter().map(PushedStream::from).collect())
}

impl From<Stream> for PushedStream {
    fn from(stream: Stream) -> Self {
        let entry = |entry: Entry| {
            let at = entry.timestamp.unwrap_or_default();
            (at.seconds.wrapping_mul(NANOS).wrapping_add(i64::from(at.nanos)), entry.line)
        };
        Self { labels: stream.labels, entries: stream.entries.into_iter().map(entry).collect() }
    }
}

#[derive(prost::Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(prost::Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(prost::Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
