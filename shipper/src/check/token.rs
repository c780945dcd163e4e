//! What the token says about itself. Its text is never shown.

use std::time::SystemTime;

use findings::{Check, Code, Finding, Outcome};
use runtime::{chain, printable};

use super::words::{about, check, skipped};
use crate::push::{Claims, PushSettings, Token};

/// What to do about a token that the gateway will not accept.
const PROJECTED: &str = "use the projected token as the webhook mounts it: without an audience, renewed by the kubelet";

/// Reads the token file and its claims. This blocks.
pub(super) fn checks(push: &PushSettings, now: SystemTime) -> Vec<Check> {
    const CLAIMS: [&str; 2] = ["token is valid now", "token is for the API server"];
    let Some(path) = &push.token_file else {
        return vec![skipped("token", "none is sent: --token-file is not set, or the URL is plain http")];
    };
    let title = format!("token file {}", path.display());
    let mut token = Token::new(path.clone());
    if let Err(error) = token.header(std::time::Instant::now()) {
        let problem = format!("there is no token to send: {}", chain(&error));
        let fix = "check that --token-file names the projected token, and that the container mounts its volume";
        let missing = check(title, Outcome::Found(Finding::new(Code::NoToken, problem, fix)));
        return std::iter::once(missing).chain(CLAIMS.map(|name| skipped(name, "there is no token"))).collect();
    }
    let Some(claims) = token.claims() else {
        let opaque = check(title, Outcome::Passed("it is no ServiceAccount token".to_owned()));
        let why = "only a ServiceAccount token has claims";
        return std::iter::once(opaque).chain(CLAIMS.map(|name| skipped(name, why))).collect();
    };
    let subject = claims.subject.as_deref().unwrap_or("nobody");
    let [valid, audience] = CLAIMS;
    vec![
        check(title, Outcome::Passed(format!("of {}", printable(subject)))),
        check(valid, expiry(&claims, now)),
        check(audience, for_the_api_server(&claims)),
    ]
}

fn expiry(claims: &Claims, now: SystemTime) -> Outcome {
    let Some(expires) = claims.expires else { return Outcome::Passed("it does not expire".to_owned()) };
    let at = jiff::Timestamp::try_from(expires).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    match expires.duration_since(now) {
        Ok(left) => Outcome::Passed(format!("until {at} (for {})", about(left))),
        Err(late) => {
            let problem = format!("the token expired at {at}, {} ago", about(late.duration()));
            let fix = format!("{PROJECTED}; check the clock of this node as well");
            Outcome::Found(Finding::new(Code::TokenRefused, problem, fix))
        }
    }
}

fn for_the_api_server(claims: &Claims) -> Outcome {
    let named = |audiences: &[String]| printable(&audiences.join(", ")).into_owned();
    match claims.foreign_audiences() {
        None if claims.audiences.is_empty() => Outcome::Passed("it names no audience".to_owned()),
        None => Outcome::Passed(named(&claims.audiences)),
        Some(audiences) => {
            let problem = format!("the token is for the audience {}, not for the API server", named(audiences));
            let fix = "remove the audience from the projected token's volume";
            Outcome::Found(Finding::new(Code::TokenRefused, problem, fix))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::check::testing::{findings, passed};

    const NOW: u64 = 1_771_626_660;

    fn of(path: Option<PathBuf>) -> Vec<Check> {
        let push = PushSettings {
            url: hyper::Uri::from_static("https://gw/push"),
            token_file: path,
            ca_files: Vec::new(),
            rate_limit: None,
        };
        checks(&push, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn claiming(claims: &str) -> Vec<Check> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = format!("e30.{}.signature", URL_SAFE_NO_PAD.encode(claims));
        std::fs::write(file.path(), &token).unwrap();
        let checks = of(Some(file.path().to_owned()));
        assert!(!format!("{checks:?}").contains(&token));
        checks
    }

    #[test]
    fn shows_the_subject_the_expiry_and_the_audience() {
        let checks = claiming(
            r#"{"sub":"system:serviceaccount:redis:rec","exp":1771630000,"aud":["https://kubernetes.default.svc"],"iss":"i"}"#,
        );
        let details: Vec<_> = checks.iter().filter_map(passed).collect();
        let expected = [
            "of system:serviceaccount:redis:rec",
            "until 2026-02-20T23:26:40Z (for 55 minutes)",
            "https://kubernetes.default.svc",
        ];
        assert_eq!(details, expected);
    }

    #[test]
    fn finds_an_expired_token_and_another_audience() {
        let expired = claiming(r#"{"exp":1771626600,"aud":["i"],"iss":"i"}"#);
        assert_eq!(findings(&expired), [Code::TokenRefused]);
        assert!(format!("{expired:?}").contains("60 seconds ago"), "{expired:?}");
        let foreign = claiming(r#"{"exp":1771630000,"aud":["vault"],"iss":"i"}"#);
        assert_eq!(findings(&foreign), [Code::TokenRefused]);
        assert!(format!("{foreign:?}").contains("for the audience vault"), "{foreign:?}");
    }

    #[test]
    fn finds_a_missing_token_and_accepts_another_kind_of_token() {
        let missing = of(Some("/nowhere/token".into()));
        assert_eq!((findings(&missing), missing.len()), (vec![Code::NoToken], 3));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret").unwrap();
        assert!(findings(&of(Some(file.path().to_owned()))).is_empty());
        assert!(findings(&of(None)).is_empty());
    }
}
