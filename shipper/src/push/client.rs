//! One push request and its answer, with the token, the CA files and the timeouts. Redirects are never followed.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use findings::Finding;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy;
use runtime::chain;
use runtime::tls::{HttpsConnector, http_client_over};
use tokio::time::{Instant, timeout};

use super::answer::Trouble;
use super::fault::ConnectionFault;
use super::finding::{Case, Sent, finding};
use super::metered::{Budget, Dial, MeteredDial};
use super::secrets;
use super::settings::PushSettings;
use super::token::Token;
use super::trust::{self, CaFiles};

/// The timeout of one push.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The timeout of an answer's body, once its status is known.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many characters of an answer are logged.
const SHOWN: usize = 500;
/// How many bytes of an answer are read. Loki may write a line for each rejected entry.
const BODY_LIMIT: usize = 1 << 20;
/// How often the CA files are checked for new content.
const CA_INTERVAL: Duration = Duration::from_secs(30);
/// The text of an answer whose announced body never arrived.
const LOST_BODY: &str = "(the body of the answer never came)";
/// The limit of `Retry-After`. A longer wait is shortened to it.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The result of one push request.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its body, as far as it arrived.
        body: String,
        /// The part of the answer that may be logged, without the secrets of the request.
        text: String,
        /// The shortest time to wait before the next push.
        retry_after: Option<Duration>,
        /// When the server answered, by its own clock.
        date: Option<SystemTime>,
    },
    /// No answer, and why.
    Nothing(Trouble, String),
}

impl Reply {
    /// The answer on one line, for the log.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Answer { text, .. } => text.clone(),
            Self::Nothing(_, why) => why.clone(),
        }
    }

    /// When the server answered, by its own clock.
    pub(super) fn date(&self) -> Option<SystemTime> {
        let Self::Answer { date, .. } = self else { return None };
        *date
    }
}

/// The client of Loki. `D` makes its connections.
#[derive(Debug)]
pub(super) struct Client<D> {
    settings: PushSettings,
    dial: MeteredDial<D>,
    budget: Budget,
    token: Option<Token>,
    /// The last token with which Loki stored something.
    accepted: Option<HeaderValue>,
    http: legacy::Client<HttpsConnector<MeteredDial<D>>, Full<Bytes>>,
    ca_files: CaFiles,
    ca_checked: Instant,
    /// How many seconds this clock was ahead of the server's at the last answer that had a date.
    clock_skew: Option<i64>,
}

impl<D: Dial> Client<D> {
    /// Prepares the client. Sends nothing.
    pub(super) fn new(settings: PushSettings, dial: D) -> Self {
        let budget = Budget::default();
        let dial = MeteredDial { dial, budget: budget.clone() };
        Self {
            budget,
            accepted: None,
            token: settings.token_file.clone().map(Token::new),
            ca_files: CaFiles::read(&settings.ca_files),
            http: http_client_over(trust::roots(&settings), dial.clone()),
            ca_checked: Instant::now(),
            clock_skew: None,
            settings,
            dial,
        }
    }

    /// The push settings.
    pub(super) fn settings(&self) -> &PushSettings {
        &self.settings
    }

    /// The token that is sent, as its claims describe it.
    fn sent(&self) -> Sent {
        let Some(token) = &self.token else { return Sent::Nothing };
        let was_accepted = token.sent().is_some() && token.sent() == self.accepted.as_ref();
        Sent::token(token.claims(), was_accepted, SystemTime::now())
    }

    /// What is wrong with a push that failed for this reason, and how to fix it.
    pub(super) fn finding(&self, trouble: &Trouble, answer: &str) -> Finding {
        finding(&Case {
            trouble,
            answer,
            url: &self.settings.url,
            tenant: self.settings.tenant(),
            token: self.sent(),
            missing_ca_files: self.ca_files.missing(&self.settings.ca_files),
        })
    }

    /// Records that Loki stored something, so the token that was sent is valid.
    pub(super) fn accepted(&mut self) {
        if let Some(token) = &self.token {
            self.accepted = token.sent().cloned();
        }
    }

    /// Reads the token file again before the next push, because the gateway did not accept the token.
    pub(super) fn forget_token(&mut self) {
        if let Some(token) = &mut self.token {
            token.forget();
        }
    }

    /// How many seconds this clock was ahead of the server's at the last answer that had a date.
    pub(super) fn clock_skew(&self) -> Option<i64> {
        self.clock_skew
    }

    /// Posts `body` and waits for the answer.
    pub(super) async fn post(&mut self, body: &Bytes) -> Reply {
        if self.ca_checked.elapsed() >= CA_INTERVAL {
            self.reload_ca_files();
        }
        let mut request = Request::post(&self.settings.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("redis-log-shipper/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &mut self.token {
            match token.header(Instant::now().into_std()) {
                Ok(header) => request = request.header(AUTHORIZATION, header),
                Err(error) => return Reply::Nothing(Trouble::NoToken, chain(&error)),
            }
        }
        let request = match request.body(Full::new(body.clone())) {
            Ok(request) => request,
            Err(error) => return Reply::Nothing(Trouble::WrongUrl, chain(&error)),
        };
        self.budget.renew();
        match timeout(TIMEOUT, self.http.request(request)).await {
            Ok(Ok(answer)) => {
                let (head, body) = answer.into_parts();
                let now = SystemTime::now();
                let retry_after = retry_after(&head.headers, now);
                let date = date(&head.headers, DATE);
                self.clock_skew = date.map(|date| ahead_seconds(now, date)).or(self.clock_skew);
                let body = text(body).await;
                let text = self.shown(head.status, &body);
                Reply::Answer { status: head.status, body, text, retry_after, date }
            }
            Ok(Err(error)) => Reply::Nothing(Trouble::NoAnswer(ConnectionFault::of(&error)), chain(&error)),
            Err(_elapsed) => {
                Reply::Nothing(Trouble::NoAnswer(ConnectionFault::Timeout), format!("no answer within {TIMEOUT:?}"))
            }
        }
    }

    /// The answer on one line, for the log, without the secrets of the request.
    fn shown(&self, status: StatusCode, body: &str) -> String {
        if body.is_empty() {
            return status.to_string();
        }
        // Search more than is kept: a secret may begin before the cut and end after it.
        let start: String = body.chars().take(2 * SHOWN).collect();
        let token = self.token.as_ref().and_then(Token::sent).map(HeaderValue::as_bytes);
        let token = token.map(|sent| sent.strip_prefix(b"Bearer ").unwrap_or(sent));
        let start = secrets::without(&start, token.into_iter().chain(secrets::of_url(&self.settings.url)));
        let start: String = start.chars().take(SHOWN).collect();
        format!("{status}: {start}")
    }

    /// Reads the CA files again. Uses their content if it has changed.
    pub(super) fn reload_ca_files(&mut self) {
        self.ca_checked = Instant::now();
        let now = CaFiles::read(&self.settings.ca_files);
        if now != self.ca_files {
            self.http = http_client_over(trust::roots(&self.settings), self.dial.clone());
            self.ca_files = now;
            tracing::info!("using the new content of the CA files");
        }
    }
}

/// The body of an answer, up to the limit. If the connection breaks, the part that arrived counts.
async fn text(mut body: Incoming) -> String {
    let announced = body.size_hint().lower() > 0;
    let mut bytes = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let room = BODY_LIMIT - bytes.len();
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data.get(..room).unwrap_or(data));
            }
            if bytes.len() >= BODY_LIMIT {
                break;
            }
        }
    };
    // After the timeout, use the part that arrived.
    let _ = timeout(BODY_TIMEOUT, read).await;
    if bytes.is_empty() && announced {
        return LOST_BODY.to_owned();
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The wait that the answer asks for, as seconds or as a date. A date is compared with the `Date` of the answer, so that a
/// wrong clock on either side does no harm.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let given = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match given.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // The number of seconds is too large for an integer.
        Err(_too_large) if !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit()) => Duration::MAX,
        Err(_no_number) => {
            date(headers, RETRY_AFTER)?.duration_since(date(headers, DATE).unwrap_or(now)).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The date in a header.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let date = jiff::fmt::rfc2822::parse(headers.get(name)?.to_str().ok()?.trim()).ok()?;
    Some(SystemTime::from(date.timestamp()))
}

/// How many seconds `now` is ahead of `date`.
pub(crate) fn ahead_seconds(now: SystemTime, date: SystemTime) -> i64 {
    let seconds = |between: Duration| i64::try_from(between.as_secs()).unwrap_or(i64::MAX);
    now.duration_since(date).map_or_else(|behind| -seconds(behind.duration()), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(HeaderName, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn compares_the_clock_with_the_date_of_the_answer() {
        let now = SystemTime::from("2026-02-20T22:31:00Z".parse::<jiff::Timestamp>().unwrap());
        let skew = |text| date(&headers(&[(DATE, text)]), DATE).map(|date| ahead_seconds(now, date));
        assert_eq!(skew("Fri, 20 Feb 2026 22:29:00 GMT"), Some(120));
        assert_eq!(skew("Fri, 20 Feb 2026 22:31:30 GMT"), Some(-30));
        assert_eq!((skew("soon"), date(&HeaderMap::new(), DATE)), (None, None));
    }

    #[test]
    fn reads_retry_after_as_seconds_or_as_a_date() {
        let now = SystemTime::from("2026-02-20T22:31:00Z".parse::<jiff::Timestamp>().unwrap());
        let wait = |given: &[(HeaderName, &str)]| retry_after(&headers(given), now);
        assert_eq!(wait(&[(RETRY_AFTER, "120")]), Some(Duration::from_mins(2)));
        assert_eq!(wait(&[(RETRY_AFTER, "Fri, 20 Feb 2026 22:31:30 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[(RETRY_AFTER, "Fri, 20 Feb 2026 22:30:00 GMT")]), Some(Duration::ZERO));
        let other_clock = [(RETRY_AFTER, "Sat, 21 Feb 2026 00:00:07 GMT"), (DATE, "Sat, 21 Feb 2026 00:00:00 GMT")];
        assert_eq!(wait(&other_clock), Some(Duration::from_secs(7)));
        for long in ["86400000", "99999999999999999999999", "Mon, 20 Feb 9026 22:31:30 GMT"] {
            assert_eq!(wait(&[(RETRY_AFTER, long)]), Some(MAX_RETRY_AFTER), "{long}");
        }
        for odd in ["soon", "-1", ""] {
            assert_eq!(wait(&[(RETRY_AFTER, odd)]), None, "{odd}");
        }
    }
}
