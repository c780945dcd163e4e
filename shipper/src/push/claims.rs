//! The claims of a ServiceAccount token. They explain a refusal; nobody here checks the signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// An audience that the API server of many clusters accepts, whatever the issuer of its tokens is.
const API_SERVER: &str = "https://kubernetes.default.svc";

/// What a token says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Whom it names, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub(crate) subject: Option<String>,
    /// When it expires.
    pub(crate) expires: Option<SystemTime>,
    /// For whom it is.
    pub(crate) audiences: Vec<String>,
    /// Who issued it.
    pub(crate) issuer: Option<String>,
}

impl Claims {
    /// The claims of a token, or `None` if it is not a JSON Web Token.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let audiences = match claims.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            _ => Vec::new(),
        };
        let seconds = claims.get("exp").and_then(Value::as_u64);
        let expires = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX))));
        Some(Self { subject: text("sub"), expires, audiences, issuer: text("iss") })
    }

    /// The namespace and the name of the ServiceAccount.
    pub(crate) fn service_account(&self) -> Option<(&str, &str)> {
        self.subject.as_deref()?.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// How long ago the token expired. `None` for a valid token, and for a token without an expiry.
    pub(crate) fn expired_for(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.expires?).ok()
    }

    /// The audiences of a token that is certainly not for the API server. Its default audience is its own issuer.
    pub(crate) fn foreign_audiences(&self) -> Option<&[String]> {
        let accepts = |audience: &String| {
            audience.starts_with(API_SERVER) || self.issuer.as_ref() == Some(audience) || self.issuer.is_none()
        };
        (!self.audiences.is_empty() && !self.audiences.iter().any(accepts)).then_some(&*self.audiences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::read(&format!("e30.{}.sig\n", URL_SAFE_NO_PAD.encode(json))).unwrap()
    }

    #[test]
    fn reads_whom_a_token_names_and_how_long_it_is_valid() {
        let claims = claims(r#"{"sub":"system:serviceaccount:redis:rec","exp":1000,"aud":["a","b"],"iss":"i"}"#);
        assert_eq!(claims.service_account(), Some(("redis", "rec")));
        let at = |seconds| claims.expired_for(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(999), at(1030)), (None, Some(Duration::from_secs(30))));
        assert_eq!((claims.audiences.len(), claims.issuer.as_deref()), (2, Some("i")));
    }

    #[test]
    fn reads_no_claims_of_what_is_not_a_token() {
        for text in ["", "secret", "a.b.c", "e30.bm8.sig"] {
            assert_eq!(Claims::read(text), None, "{text:?}");
        }
        assert_eq!(claims("{}"), Claims::default());
    }

    #[test]
    fn knows_a_token_that_is_not_for_the_api_server() {
        let foreign = |json| claims(json).foreign_audiences().map(<[String]>::to_vec);
        assert_eq!(
            foreign(r#"{"iss":"https://kubernetes.default.svc","aud":["vault"]}"#),
            Some(vec!["vault".to_owned()])
        );
        assert_eq!(foreign(r#"{"iss":"https://issuer.example","aud":"vault"}"#), Some(vec!["vault".to_owned()]));
        for ours in [
            r#"{"iss":"https://issuer.example","aud":["https://issuer.example"]}"#,
            r#"{"iss":"https://issuer.example","aud":["x","https://kubernetes.default.svc.cluster.local"]}"#,
            r#"{"aud":["who knows"]}"#,
            r#"{"iss":"https://issuer.example"}"#,
        ] {
            assert_eq!(foreign(ours), None, "{ours}");
        }
    }
}
