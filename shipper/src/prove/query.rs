//! Loki's query API, as far as `prove` needs it: the entries of a stream, and their number.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode, Uri};
use runtime::tls::{HttpClient, http_client};
use serde::Deserialize;

use super::range::{MILLISECOND, Range};
use crate::push::{PushSettings, Token, TokenError, roots};

/// The end of a push URL. The query API is beside it.
const PUSH: &str = "/push";
/// How many entries one answer holds at most. Loki's default limit is 5,000.
const PAGE: usize = 1000;
/// The longest answer: a page of the longest entries.
const MAX_ANSWER: usize = 512 << 20;
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How many characters of an answer an error shows.
const SHOWN: usize = 500;

/// Why a query fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The push URL is not one of Loki's.
    #[error("invalid --loki-url: expected a URL that ends in /loki/api/v1/push, because the query API is beside it")]
    Url,
    /// There is no token.
    #[error("failed to read the token")]
    Token(#[source] TokenError),
    /// There is no answer.
    #[error("failed to query Loki")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no answer in time.
    #[error("failed to query Loki: no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// Loki or the gateway refuses.
    #[error("failed to query Loki: {status}: {text}; for 302, 401 or 403 use a token that may read these logs")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        text: String,
    },
    /// The answer is not understood.
    #[error("failed to read the answer of Loki's query API")]
    Answer(#[source] serde_json::Error),
}

/// The query API beside a push URL.
#[derive(Debug)]
pub(crate) struct Query {
    /// The push URL up to the last part.
    base: String,
    http: HttpClient,
    token: Option<Token>,
}

#[derive(Deserialize)]
struct Answer<R> {
    data: Data<R>,
}

#[derive(Deserialize)]
struct Data<R> {
    result: Vec<R>,
}

/// Entries with the same labels and structured metadata.
#[derive(Deserialize)]
struct Stream {
    values: Vec<(String, String)>,
}

/// The value of a metric query.
#[derive(Deserialize)]
struct Sample {
    value: (f64, String),
}

impl Query {
    /// The query API beside the push URL of `settings`.
    pub(crate) fn new(settings: &PushSettings) -> Result<Self, QueryError> {
        let url = settings.url.to_string();
        let base = url.trim_end_matches('/').strip_suffix(PUSH).ok_or(QueryError::Url)?.to_owned();
        let token = settings.token_file.clone().map(Token::new);
        Ok(Self { base, http: http_client(roots(settings)), token })
    }

    /// Passes the time and the text of every entry to `each`, in the order of time.
    pub(crate) async fn entries(
        &mut self,
        selector: &str,
        range: Range,
        mut each: impl FnMut(i64, &str),
    ) -> Result<(), QueryError> {
        let (mut from, mut limit) = (range.from, PAGE);
        loop {
            let path = format!(
                "query_range?direction=forward&limit={limit}&start={from}&end={}&query={}",
                range.to,
                encoded(selector)
            );
            let answer: Answer<Stream> = self.get(&path).await?;
            let values = answer.data.result.into_iter().flat_map(|stream| stream.values);
            let mut page: Vec<_> = values.map(|(time, line)| (time.parse::<i64>().unwrap_or_default(), line)).collect();
            page.sort_by_key(|(time, _)| *time);
            match page.last().map(|(time, _)| *time) {
                // A full page may lack entries of its last time. The next page starts there, and has them all.
                Some(last) if page.len() >= limit => {
                    for (time, line) in page.iter().take_while(|(time, _)| *time < last) {
                        each(*time, line);
                    }
                    limit = if last > from { PAGE } else { limit * 2 };
                    from = last;
                }
                _ => {
                    for (time, line) in &page {
                        each(*time, line);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// How many entries Loki counts. It counts an entry twice if it stores it twice, though it shows it once.
    pub(crate) async fn count(&mut self, selector: &str, range: Range) -> Result<u64, QueryError> {
        // A range vector holds its end, but not its start. LogQL knows no nanoseconds.
        let (at, length) = (range.to.saturating_sub(1), range.to.saturating_sub(range.from) / MILLISECOND);
        let logql = format!("sum(count_over_time({selector}[{length}ms]))");
        let answer: Answer<Sample> = self.get(&format!("query?time={at}&query={}", encoded(&logql))).await?;
        let count = answer.data.result.first().and_then(|sample| sample.value.1.parse().ok());
        Ok(count.unwrap_or_default())
    }

    async fn get<R: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<Answer<R>, QueryError> {
        let uri: Uri = format!("{}/{path}", self.base).parse().map_err(|_invalid| QueryError::Url)?;
        let mut request = Request::get(uri);
        if let Some(token) = &mut self.token {
            request = request.header(AUTHORIZATION, token.header(Instant::now()).map_err(QueryError::Token)?);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| QueryError::Send(error.into()))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| QueryError::Send(error.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(QueryError::Send)?;
            Ok((head.status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_late| QueryError::Timeout)??;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(SHOWN).collect();
            return Err(QueryError::Refused { status, text: runtime::printable(&text).into_owned() });
        }
        serde_json::from_slice(&body).map_err(QueryError::Answer)
    }
}

/// A query parameter with every byte escaped that could mean something in a URL.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &'static str) -> PushSettings {
        PushSettings { url: Uri::from_static(url), token_file: None, ca_files: Vec::new(), rate_limit: None }
    }

    #[test]
    fn finds_the_query_api_beside_the_push_url() {
        let query = Query::new(&settings("http://gw:8080/api/logs/v1/application/loki/api/v1/push")).unwrap();
        assert_eq!(query.base, "http://gw:8080/api/logs/v1/application/loki/api/v1");
        assert!(matches!(Query::new(&settings("http://loki/other")), Err(QueryError::Url)));
    }

    /// Answers like Loki: the first entries from `start` on, with many entries at one time.
    async fn page(axum::extract::RawQuery(query): axum::extract::RawQuery) -> String {
        let query = query.unwrap();
        let number = |name: &str| -> usize {
            let (_, value) = query.split_once(&format!("{name}=")).unwrap();
            value.split('&').next().unwrap().parse().unwrap()
        };
        let entries = (0..5 * PAGE).map(|number| (number / (2 * PAGE + 7), number));
        let page = entries.filter(|(time, _)| *time >= number("start")).take(number("limit"));
        let values: Vec<_> = page.map(|(time, number)| [time.to_string(), number.to_string()]).collect();
        serde_json::json!({"data": {"result": [{"values": values}]}}).to_string()
    }

    #[tokio::test]
    async fn reads_each_entry_once_if_a_page_ends_between_entries_of_one_time() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/loki/api/v1/push", listener.local_addr().unwrap());
        let routes = axum::Router::new().fallback(axum::routing::get(page));
        tokio::spawn(async { axum::serve(listener, routes).await });
        let push = PushSettings { url: url.parse().unwrap(), ..settings("http://loki/push") };
        let mut seen = Vec::<usize>::new();
        let mut query = Query::new(&push).unwrap();
        query.entries("{}", Range { from: 0, to: 10 }, |_, line| seen.push(line.parse().unwrap())).await.unwrap();
        assert_eq!(seen, (0..5 * PAGE).collect::<Vec<_>>());
    }

    #[test]
    fn escapes_a_selector() {
        assert_eq!(encoded("{a=\"b c\"}"), "%7Ba%3D%22b%20c%22%7D");
    }
}
