//! What Loki, or the gateway before it, meant: one table from status and body to what is to be done.

use std::time::Duration;

use hyper::StatusCode;

/// What is to be done about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// All entries are stored.
    Stored,
    /// Some entries were rejected for good, all others are stored. Sending them again would change nothing.
    StoredExcept,
    /// Nothing is certain to be stored: send the same bytes again, later.
    Again(Trouble),
}

/// Why a push was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 403: the token is good, the permission is missing.
    Forbidden,
    /// 302 and its kin: a login page instead of an answer, the token is missing, expired or for another audience.
    Login,
    /// 401: an unknown tenant, a gateway that is still starting, or one that could not ask the API server.
    Unauthorized,
    /// 404, 405: the URL is wrong.
    WrongUrl,
    /// 260 and its kin: Loki took the push and stored nothing.
    Blocked,
    /// 400 for the whole request, such as labels that cannot be parsed.
    BadRequest,
    /// 413: the push is larger than a proxy on the way allows.
    TooLarge,
    /// 429: slower, please.
    Throttled(Option<Duration>),
    /// 5xx: down, or on its way up.
    Unavailable(Option<Duration>),
    /// No answer: refused, reset, timed out, or TLS that does not trust.
    NoAnswer,
    /// Something that is in no table.
    Unexpected,
}

impl Trouble {
    /// One stable word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Login => "login",
            Self::Unauthorized => "unauthorized",
            Self::WrongUrl => "wrong_url",
            Self::Blocked => "blocked",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::Throttled(_) => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::NoAnswer => "no_answer",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether waiting alone will not help: somebody must grant or change something.
    pub fn needs_somebody(&self) -> bool {
        !matches!(self, Self::Throttled(_) | Self::Unavailable(_) | Self::NoAnswer)
    }

    /// Whether another token may change the answer.
    pub fn concerns_token(&self) -> bool {
        matches!(self, Self::Forbidden | Self::Login | Self::Unauthorized)
    }

    /// The least time to wait, where the answer said one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(wait) | Self::Unavailable(wait) => *wait,
            _ => None,
        }
    }
}

/// Reads the table.
pub fn meaning(status: StatusCode, body: &str, retry_after: Option<Duration>) -> Meaning {
    let trouble = match status.as_u16() {
        200 | 204 => return Meaning::Stored,
        201..=299 => Trouble::Blocked,
        300..=399 => Trouble::Login,
        400 if is_about_the_request(body) => Trouble::BadRequest,
        400 => return Meaning::StoredExcept,
        401 => Trouble::Unauthorized,
        403 => Trouble::Forbidden,
        404 | 405 => Trouble::WrongUrl,
        413 => Trouble::TooLarge,
        429 => Trouble::Throttled(retry_after),
        500..=599 => Trouble::Unavailable(retry_after),
        _ => Trouble::Unexpected,
    };
    Meaning::Again(trouble)
}

/// Whether a 400 refuses the whole request; otherwise it lists entries that were rejected while the rest was stored.
fn is_about_the_request(body: &str) -> bool {
    [
        "parse labels",
        "error parsing labels",
        "proto:",
        "snappy",
        "corrupt input",
        "unexpected EOF",
        "Client sent an HTTP",
    ]
    .iter()
    .any(|sign| body.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Meaning {
        meaning(StatusCode::from_u16(status).unwrap(), body, None)
    }

    #[test]
    fn acknowledges_only_what_is_stored() {
        for status in [200, 204] {
            assert_eq!(of(status, ""), Meaning::Stored);
        }
        assert_eq!(of(260, "ingestion blocked"), Meaning::Again(Trouble::Blocked));
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
        ] {
            assert!(trouble.needs_somebody());
            assert_eq!(of(status, ""), Meaning::Again(trouble));
        }
    }

    #[test]
    fn goes_on_after_a_400_for_entries_and_holds_after_a_400_for_the_request() {
        assert_eq!(of(400, "entry for stream has timestamp too old"), Meaning::StoredExcept);
        assert_eq!(of(400, "error parsing labels {a=}: 1:4: parse error"), Meaning::Again(Trouble::BadRequest));
    }

    #[test]
    fn resends_after_trouble_that_passes() {
        for status in [429, 500, 502, 503, 504] {
            let Meaning::Again(trouble) = of(status, "") else { panic!("{status}") };
            assert!(!trouble.needs_somebody(), "{status}");
        }
    }
}
