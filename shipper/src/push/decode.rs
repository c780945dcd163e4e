//! Decodes a push request, as Loki does: for receivers in tests and in the demo, and for a batch that must be encoded again in
//! pieces because Loki refused it as a whole.

use prost::Message as _;

const NANOS: i64 = 1_000_000_000;

/// Why a body is not a push request.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not in snappy's block format.
    #[error("failed to decompress the push request")]
    Snappy(#[from] snap::Error),
    /// The body is not the protobuf of a push request.
    #[error("failed to decode the push request")]
    Protobuf(#[from] prost::DecodeError),
}

/// A stream and its entries, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedStream {
    /// The labels, such as `{job="redis"}`.
    pub labels: String,
    /// The timestamp of each entry, in nanoseconds since 1970 UTC, and its text.
    pub entries: Vec<(i64, String)>,
    /// The structured metadata of each entry, as names and values.
    pub metadata: Vec<Vec<(String, String)>>,
}

/// Decodes the body of a push.
pub fn decode(body: &[u8]) -> Result<Vec<PushedStream>, DecodeError> {
    Ok(PushRequest::read(body)?.streams.into_iter().map(PushedStream::from).collect())
}

impl From<Stream> for PushedStream {
    fn from(stream: Stream) -> Self {
        let metadata =
            |entry: &Entry| entry.metadata.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect();
        Self {
            labels: stream.labels,
            metadata: stream.entries.iter().map(metadata).collect(),
            entries: stream.entries.into_iter().map(|entry| (entry.nanos(), entry.line)).collect(),
        }
    }
}

/// Loki's push request.
#[derive(Clone, prost::Message)]
pub(crate) struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<Stream>,
}

impl PushRequest {
    /// Decodes the body of a push.
    pub(crate) fn read(body: &[u8]) -> Result<Self, DecodeError> {
        let raw = snap::raw::Decoder::new().decompress_vec(body)?;
        Ok(Self::decode(raw.as_slice())?)
    }

    /// Encodes the body of a push.
    pub(crate) fn body(&self) -> Result<bytes::Bytes, snap::Error> {
        Ok(snap::raw::Encoder::new().compress_vec(&self.encode_to_vec())?.into())
    }
}

/// A stream and its entries.
#[derive(Clone, prost::Message)]
pub(crate) struct Stream {
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<Entry>,
}

/// One entry.
#[derive(Clone, prost::Message)]
pub(crate) struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(crate) line: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Pair>,
}

impl Entry {
    /// The timestamp, in nanoseconds since 1970 UTC.
    pub(crate) fn nanos(&self) -> i64 {
        let at = self.timestamp.unwrap_or_default();
        at.seconds.wrapping_mul(NANOS).wrapping_add(i64::from(at.nanos))
    }
}

/// One pair of structured metadata.
#[derive(Clone, prost::Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
