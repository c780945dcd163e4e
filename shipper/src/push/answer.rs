//! The meaning of an answer from Loki, or from the gateway before it: one table from status and body to the next step.

use std::borrow::Cow;
use std::time::Duration;

use bytesize::ByteSize;
use hyper::StatusCode;

use super::fault::ConnectionFault;
use super::rejections::{Reason, Rejections};

/// The next step after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// All entries are stored.
    Stored,
    /// Some entries were rejected for good, and all others are stored. A retry would change nothing.
    StoredExcept(Rejections),
    /// Loki does not allow structured metadata: push the same entries without it.
    WithoutMetadata,
    /// The push is too large: push it in pieces.
    Split,
    /// A 400 with an unknown text. Find out whether the request is at fault, or a few of its entries.
    Suspect,
    /// Perhaps nothing is stored: retry the same bytes later.
    RetryLater(Trouble),
}

/// Why a push was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 403: the token is valid, but the permission is missing.
    Forbidden,
    /// 302 and other redirects to a login page: the token is missing, expired or for another audience. Without OAuth metadata the
    /// gateway has no login page, and answers 401.
    Login,
    /// There is no token to send.
    NoToken,
    /// 400: the port expects https, and the URL says http.
    PlainHttp,
    /// 401: the tenant is unknown, or the gateway is still starting or could not ask the API server.
    Unauthorized,
    /// 404, 405: the URL is wrong.
    WrongUrl,
    /// 260 and similar: Loki accepted the push and stored nothing.
    Blocked,
    /// 400 for the whole request, for example because of invalid labels.
    BadRequest,
    /// 429: push more slowly.
    Throttled {
        /// The limit that the answer names.
        limit: Limit,
        /// The minimum wait, if the answer names one.
        after: Option<Duration>,
        /// Whether the push is larger than the limit of a second, so that a wait alone may never help.
        over: bool,
    },
    /// 400: entries are too far ahead of Loki's clock. Loki accepts them later.
    TooNew,
    /// 5xx: Loki or the gateway is down, or still starting.
    Unavailable(Option<Duration>),
    /// 500: the gateway could not ask whether the push is allowed. The push did not reach Loki.
    Gateway(Option<Duration>),
    /// 429, or 503 from older versions: the gateway is busy.
    GatewayBusy(Option<Duration>),
    /// No answer, and why.
    NoAnswer(ConnectionFault),
    /// An unknown answer.
    Unexpected,
}

/// A limit on the pushes of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The number of active streams of the tenant.
    Streams,
    /// The rate of one stream.
    StreamRate,
    /// The rate of the tenant.
    IngestionRate,
    /// Another limit, or a limit of a proxy.
    Unknown,
}

impl Limit {
    /// The limit that an answer without label sets names. Versions of Loki differ in the first letter.
    fn named_by(body: &str) -> Self {
        let says = |words: &str| body.contains(words);
        if says("tream rate limit exceeded") {
            Self::StreamRate
        } else if says("stream limit exceeded") {
            Self::Streams
        } else if says("ngestion rate limit exceeded") {
            Self::IngestionRate
        } else {
            Self::Unknown
        }
    }

    /// Whether it makes Loki refuse one stream and accept others.
    pub(crate) fn is_of_one_stream(self) -> bool {
        matches!(self, Self::Streams | Self::StreamRate)
    }
}

impl Trouble {
    /// Its stable name in logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Login => "login",
            Self::NoToken => "no_token",
            Self::PlainHttp => "plain_http",
            Self::Gateway(_) => "gateway",
            Self::GatewayBusy(_) => "gateway_busy",
            Self::Unauthorized => "unauthorized",
            Self::WrongUrl => "wrong_url",
            Self::Blocked => "blocked",
            Self::BadRequest => "bad_request",
            Self::Throttled { .. } => "throttled",
            Self::TooNew => "too_new",
            Self::Unavailable(_) => "unavailable",
            Self::NoAnswer(_) => "no_answer",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether a wait alone does not help, because somebody must grant or change something.
    pub fn needs_somebody(&self) -> bool {
        !matches!(
            self,
            Self::Throttled { .. }
                | Self::TooNew
                | Self::Unavailable(_)
                | Self::Gateway(_)
                | Self::GatewayBusy(_)
                | Self::NoAnswer(_)
        )
    }

    /// Whether another token may change the answer.
    pub fn concerns_token(&self) -> bool {
        matches!(self, Self::Forbidden | Self::Login | Self::Unauthorized)
    }

    /// The minimum wait, if the answer names one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { after, .. }
            | Self::Unavailable(after)
            | Self::Gateway(after)
            | Self::GatewayBusy(after) => *after,
            _ => None,
        }
    }
}

/// Reads the table for a push of `entries` entries.
pub fn meaning(status: StatusCode, body: &str, retry_after: Option<Duration>, entries: u64) -> Meaning {
    let trouble = match status.as_u16() {
        // Loki answers a stored push without a text. A text comes from a proxy or another program.
        204 => return Meaning::Stored,
        200 if body.is_empty() => return Meaning::Stored,
        201..=299 => Trouble::Blocked,
        300..=399 => Trouble::Login,
        400 => return of_bad_request(&without_streams(body), retry_after, entries),
        401 => return Meaning::RetryLater(of_unauthorized(body)),
        403 => Trouble::Forbidden,
        404 | 405 => Trouble::WrongUrl,
        // A limit between the components of Loki. A retry never helps.
        500..=599 if body.contains("message larger than max") => return Meaning::Split,
        500..=599 if is_of_the_gateway(body) => Trouble::Gateway(retry_after),
        429 | 503 if body.contains("Server capacity exceeded") => Trouble::GatewayBusy(retry_after),
        408 | 500..=599 => Trouble::Unavailable(retry_after),
        413 if body.contains("stream labels size") => Trouble::BadRequest,
        413 => return Meaning::Split,
        429 => throttled(&without_streams(body), retry_after),
        _ => Trouble::Unexpected,
    };
    Meaning::RetryLater(trouble)
}

/// The cause of a 401. Without OAuth metadata the gateway has no login page, and answers 401 to an invalid token.
fn of_unauthorized(body: &str) -> Trouble {
    if body.contains("OAuth authentication not available") { Trouble::Login } else { Trouble::Unauthorized }
}

/// Whether the answer comes from the gateway itself, and not from Loki.
fn is_of_the_gateway(body: &str) -> bool {
    body.contains("errorType") && body.contains("observatorium-api")
}

/// A 400 is about the request, about a few of its entries, or about something else.
fn of_bad_request(body: &str, retry_after: Option<Duration>, entries: u64) -> Meaning {
    let says = |signs: &[&str]| signs.iter().any(|sign| body.contains(sign));
    if says(&["structured metadata"]) {
        return Meaning::WithoutMetadata;
    }
    if says(&["message size", "message larger than max"]) {
        return Meaning::Split;
    }
    if says(&["rate limit exceeded", "stream limit exceeded"]) {
        return Meaning::RetryLater(throttled(body, retry_after));
    }
    if says(&["HTTP request to an HTTPS", "HTTP request was sent to HTTPS"]) {
        return Meaning::RetryLater(Trouble::PlainHttp);
    }
    if says(&["ingestion blocked"]) {
        return Meaning::RetryLater(Trouble::Blocked);
    }
    if says(&[
        "couldn't parse labels",
        "error parsing labels",
        "at least one label pair",
        "missing required labels",
        "proto:",
        "snappy",
        "corrupt input",
        "unexpected EOF",
        "Content-Encoding",
        "mime:",
        "org id",
    ]) {
        return Meaning::RetryLater(Trouble::BadRequest);
    }
    match Rejections::read(body, entries) {
        None => Meaning::Suspect,
        Some(rejected) if rejected.holds(Reason::TooNew) => Meaning::RetryLater(Trouble::TooNew),
        Some(rejected) => Meaning::StoredExcept(rejected),
    }
}

/// Loki's text without label sets, because users choose the labels.
fn without_streams(body: &str) -> Cow<'_, str> {
    const BEFORE: [&str; 4] = ["stream '", "stream: ", "stream ", "labels '"];
    let (mut kept, mut rest) = (String::new(), body);
    while let Some(at) = BEFORE.iter().filter_map(|word| Some(rest.find(&format!("{word}{{"))? + word.len())).min() {
        let (before, set) = rest.split_at(at);
        let Some(end) = end_of_set(set) else { break };
        kept.push_str(before);
        kept.push_str("{}");
        rest = set.get(end..).unwrap_or_default();
    }
    if kept.is_empty() { Cow::Borrowed(body) } else { Cow::Owned(kept + rest) }
}

/// The end of a label set: the first closing brace outside of quotes.
fn end_of_set(set: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in set.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn throttled(body: &str, after: Option<Duration>) -> Trouble {
    Trouble::Throttled { limit: Limit::named_by(body), after, over: is_over(body) }
}

/// Whether a 429 names a size above its limit of a second. Loki names the rate, but not the burst. In a working configuration the
/// burst is not smaller, and pieces that are smaller than necessary do no harm. The ingester names the size of one entry, and the
/// number of entries.
fn is_over(body: &str) -> bool {
    let size_after = |words: &str| {
        let rest = body.split(words).nth(1)?.trim_start_matches('\'');
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        Some(rest.get(..end)?.trim_end_matches('.').parse::<ByteSize>().ok()?.as_u64())
    };
    let entries = Rejections::ignored(body).unwrap_or(1);
    matches!((size_after("totaling "), size_after("limit: ")), (Some(size), Some(limit)) if size.saturating_mul(entries) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Meaning {
        meaning(StatusCode::from_u16(status).unwrap(), body, None, 100)
    }

    #[test]
    fn acknowledges_only_what_is_stored() {
        for status in [200, 204] {
            assert_eq!(of(status, ""), Meaning::Stored);
        }
        assert_eq!(of(260, "ingestion blocked"), Meaning::RetryLater(Trouble::Blocked));
        for foreign in ["<!doctype html><title>Log in</title>", "{}", "ok", r#"{"status":"success"}"#] {
            assert_eq!(of(200, foreign), Meaning::RetryLater(Trouble::Unexpected));
        }
    }

    #[test]
    fn holds_where_a_permission_a_token_or_a_setting_is_missing() {
        for (status, trouble) in [
            (302, Trouble::Login),
            (307, Trouble::Login),
            (401, Trouble::Unauthorized),
            (403, Trouble::Forbidden),
            (404, Trouble::WrongUrl),
            (405, Trouble::WrongUrl),
            (422, Trouble::Unexpected),
        ] {
            assert!(trouble.needs_somebody());
            assert_eq!(of(status, ""), Meaning::RetryLater(trouble));
        }
    }

    #[test]
    fn goes_on_after_a_400_for_entries() {
        assert_eq!(
            of(400, "entry for stream '{}' has timestamp too old: x"),
            Meaning::StoredExcept(Rejections::of(Reason::TooOld, 1))
        );
    }

    #[test]
    fn holds_after_a_400_for_the_whole_request() {
        for body in [
            r#"couldn't parse labels: 1:4: parse error: unexpected "}""#,
            "error parsing labels '{a=}' with error: 1:4: parse error",
            "error at least one label pair is required per stream",
            "missing required labels 'team' for user 'fake' for stream '{}' (policy: '')",
            "snappy: corrupt input",
            "proto: PushRequest: illegal tag 0",
            "unexpected EOF",
            "no org id",
        ] {
            assert_eq!(of(400, body), Meaning::RetryLater(Trouble::BadRequest), "{body}");
        }
        assert_eq!(of(400, "ingestion blocked for user 'fake' until 'x'"), Meaning::RetryLater(Trouble::Blocked));
    }

    #[test]
    fn takes_no_label_for_lokis_words() {
        // Users choose the labels: a cluster may have any name.
        for odd in ["snappy-0", "org id", "a } rate limit exceeded", "\\\"} unexpected EOF", "max entry size"] {
            let stream = format!("{{job=\"{odd}\", log_file=\"structured metadata\"}}");
            let old = format!(
                "2 errors like: entry for stream '{stream}' has timestamp too old: x; 1 errors like: max entry size '9' bytes exceeded for stream '{stream}'"
            );
            let rejected = Rejections::read("2 errors like: timestamp too old; 1 errors like: max entry size", 100);
            assert_eq!(of(400, &old), Meaning::StoredExcept(rejected.unwrap()), "{odd}");
            let behind = format!(
                "reason: 'entry too far behind, x',\nuser 'fake', total ignored: 3 out of 100 for stream: {stream}"
            );
            assert_eq!(of(400, &behind), Meaning::StoredExcept(Rejections::of(Reason::TooFarBehind, 3)), "{odd}");
        }
        assert_eq!(without_streams("stream '{job=\"never ends"), "stream '{job=\"never ends");
        let many = "stream '{a=\"}\"}' x".repeat(2);
        assert_eq!(without_streams(&many), "stream '{}' x".repeat(2));
    }

    /// Loki 3.7.8's own, from its sources, for a stream of a hundred entries.
    #[test]
    fn knows_every_refusal_of_loki() {
        let only = |reason, entries| Meaning::StoredExcept(Rejections::of(reason, entries));
        let later = |limit| Meaning::RetryLater(Trouble::Throttled { limit, after: None, over: false });
        let stream = r#"{job="redis", log_file="dmcproxy"}"#;
        let ooo = |why: &str| {
            format!(
                "entry with timestamp 2026-02-20 22:31:07 +0000 UTC ignored, reason: '{why}',\nuser 'fake', total ignored: 3 out of 100 for stream: {stream}"
            )
        };
        let cases = [
            (400, format!("entry for stream '{stream}' has timestamp too old: t, oldest acceptable timestamp is: t"), only(Reason::TooOld, 1)),
            // Loki accepts them later.
            (400, format!("7 errors like: entry for stream '{stream}' has timestamp too new: t"), Meaning::RetryLater(Trouble::TooNew)),
            (400, format!("1 errors like: entry for stream '{stream}' has timestamp too old: t; 7 errors like: entry for stream '{stream}' has timestamp too new: t"), Meaning::RetryLater(Trouble::TooNew)),
            (400, format!("max entry size '256000' bytes exceeded for stream '{stream}' while adding an entry with length '300000' bytes"), only(Reason::LineTooLong, 1)),
            (400, format!("entry for stream '{stream}' has 31 label names; limit 30"), only(Reason::LabelLimit, 100)),
            (400, format!("stream '{stream}' has label name too long: 'x'"), only(Reason::LabelLimit, 100)),
            (400, format!("stream '{stream}' has label value too long: 'x'"), only(Reason::LabelLimit, 100)),
            (400, format!("stream '{stream}' has duplicate label name: 'x'"), only(Reason::LabelLimit, 100)),
            (400, ooo("entry too far behind, entry timestamp is: t, oldest acceptable timestamp is: t"), only(Reason::TooFarBehind, 3)),
            (400, ooo("entry out of order"), only(Reason::OutOfOrder, 3)),
            // Loki would accept some of the ignored entries later.
            (400, ooo("Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{}' totaling 165B, consider splitting a stream via additional labels"), later(Limit::StreamRate)),
            (429, ooo("Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{}' totaling 165B, consider splitting a stream via additional labels"), later(Limit::StreamRate)),
            (400, format!("5 errors like: stream '{stream}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata`"), Meaning::WithoutMetadata),
            (400, format!("stream '{stream}' has structured metadata too large: '9' bytes, limit: '8' bytes. Please see"), Meaning::WithoutMetadata),
            (400, format!("stream '{stream}' has too many structured metadata labels: '2', limit: '1'. Please see"), Meaning::WithoutMetadata),
            (400, format!("missing required labels 'team' for user 'fake' for stream '{stream}' (policy: '')"), Meaning::RetryLater(Trouble::BadRequest)),
            (400, "error at least one label pair is required per stream".to_owned(), Meaning::RetryLater(Trouble::BadRequest)),
            (400, format!("error parsing labels '{stream}' with error: 1:2: parse error"), Meaning::RetryLater(Trouble::BadRequest)),
            (400, "couldn't parse labels: 1:4: parse error".to_owned(), Meaning::RetryLater(Trouble::BadRequest)),
            (400, "Content-Encoding \"br\" not supported".to_owned(), Meaning::RetryLater(Trouble::BadRequest)),
            (400, "decompressed message size too large than max (9 vs 8)".to_owned(), Meaning::Split),
            (413, "request body too large: message size too large than max (9 vs 8)".to_owned(), Meaning::Split),
            (400, "compressed message size 9 exceeds limit 8".to_owned(), Meaning::Split),
            // No smaller push has fewer labels.
            (413, "request body too large: stream labels size 20 kB exceeds limit of 10 kB".to_owned(), Meaning::RetryLater(Trouble::BadRequest)),
            (260, "ingestion blocked for user 'fake' until 't' with status code '260'".to_owned(), Meaning::RetryLater(Trouble::Blocked)),
            (400, "ingestion blocked for user 'fake' (policy: 'p') until 't' with status code '400'".to_owned(), Meaning::RetryLater(Trouble::Blocked)),
            (429, "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '100' lines totaling '9' bytes, reduce log volume".to_owned(), later(Limit::IngestionRate)),
            (429, format!("maximum active stream limit exceeded when trying to create stream {stream}, reduce the number of active streams"), later(Limit::Streams)),
            (429, "Maximum active stream limit exceeded when trying to create stream {}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: 'fake'".to_owned(), later(Limit::Streams)),
            (429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '100' lines totaling '9' bytes, reduce log volume".to_owned(), later(Limit::IngestionRate)),
            (429, "Too Many Requests".to_owned(), later(Limit::Unknown)),
            (422, "error at least one valid stream is required for ingestion".to_owned(), Meaning::RetryLater(Trouble::Unexpected)),
            (503, "Ingester is shutting down".to_owned(), Meaning::RetryLater(Trouble::Unavailable(None))),
        ];
        for (status, body, meant) in cases {
            assert_eq!(of(status, &body), meant, "{status} {body}");
        }
    }

    /// Answers of OpenShift Logging's gateway. With an empty body it is a version of 2023, otherwise of 2026.
    #[test]
    fn knows_every_refusal_of_the_gateway() {
        let opa = r#"{"error":"failed to authorize request","errorType":"observatorium-api","status":"error"}"#;
        let cases = [
            (302, r#"{"error":"failed to find token"}"#, Trouble::Login),
            (302, "", Trouble::Login),
            (401, "OAuth authentication not available", Trouble::Login),
            (401, "tenant not found, have you registered it?", Trouble::Unauthorized),
            (401, "401 Unauthorized", Trouble::Unauthorized),
            (401, "", Trouble::Unauthorized),
            (403, "You don't have permission to access this tenant", Trouble::Forbidden),
            (403, "", Trouble::Forbidden),
            (404, "404 page not found", Trouble::WrongUrl),
            (500, opa, Trouble::Gateway(None)),
            (500, "", Trouble::Unavailable(None)),
            (502, "", Trouble::Unavailable(None)),
            (429, "Server capacity exceeded.", Trouble::GatewayBusy(None)),
            (503, "Server capacity exceeded.", Trouble::GatewayBusy(None)),
            (400, "Client sent an HTTP request to an HTTPS server.", Trouble::PlainHttp),
            (400, "<center>The plain HTTP request was sent to HTTPS port</center>", Trouble::PlainHttp),
        ];
        for (status, body, trouble) in cases {
            assert_eq!(of(status, body), Meaning::RetryLater(trouble), "{status} {body}");
        }
        assert_eq!(of(500, "rpc error: grpc: received message larger than max (5000000 vs. 4194304)"), Meaning::Split);
    }

    #[test]
    fn looks_closer_at_a_400_with_unknown_words() {
        assert_eq!(of(400, "Bad Request"), Meaning::Suspect);
    }

    #[test]
    fn leaves_metadata_away_where_it_is_refused() {
        let body = "2 errors like: stream '{}' includes structured metadata, but this feature is disallowed.";
        assert_eq!(of(400, body), Meaning::WithoutMetadata);
        assert_eq!(of(400, "stream '{}' has structured metadata too large: '9' bytes"), Meaning::WithoutMetadata);
    }

    #[test]
    fn splits_what_is_too_large() {
        assert_eq!(of(413, ""), Meaning::Split);
        assert_eq!(of(400, "received message larger than max (9 vs 4)"), Meaning::Split);
    }

    #[test]
    fn knows_a_push_that_is_larger_than_the_rate_allows() {
        let tenant = |limit, size| {
            format!(
                "ingestion rate limit exceeded for user fake (limit: {limit} bytes/sec) while attempting to ingest '9' lines \
                 totaling '{size}' bytes, reduce log volume"
            )
        };
        let stream = "Per stream rate limit exceeded (limit: 512KB/sec) while attempting to ingest for stream '{}' totaling \
                      1.2MB, consider splitting a stream";
        let entries = |ignored| {
            format!(
                "entry with timestamp t ignored, reason: 'Per stream rate limit exceeded (limit: 512KB/sec) while attempting to \
                 ingest for stream '{{}}' totaling 288B, consider',\nuser 'fake', total ignored: {ignored} out of 4000 for stream: {{}}"
            )
        };
        let cases = [(tenant(1000, 999), false), (tenant(1000, 1001), true), (stream.to_owned(), true)];
        for (body, larger) in cases.into_iter().chain([(entries(1000), false), (entries(4000), true)]) {
            let Meaning::RetryLater(Trouble::Throttled { over, .. }) = of(429, &body) else { panic!("{body}") };
            assert_eq!(over, larger, "{body}");
        }
    }

    #[test]
    fn resends_after_trouble_that_passes() {
        for status in [408, 429, 500, 502, 503, 504] {
            let Meaning::RetryLater(trouble) = of(status, "") else { panic!("{status}") };
            assert!(!trouble.needs_somebody(), "{status}");
        }
    }
}
