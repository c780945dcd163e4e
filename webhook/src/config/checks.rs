//! Checks of values. A checked value is safe in a pod and on the shipper's command line. Otherwise the API server could
//! refuse the database pod, or the sidecar could exit at its start.

use axum::http::Uri;
use globset::GlobBuilder;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use runtime::drops::DropRule;
use runtime::patterns;

use super::types::TENANT_PLACEHOLDER;

/// The fields of a pod that may become a label. Fields with lists or with arbitrary text are not among them.
const FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
];

/// A deleted pod waits for its slowest container, so this is the limit.
const LONGEST_DRAIN: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn non_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn absolute(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(format!("invalid path {text:?}: expected an absolute path, such as /var/opt/redislabs/log"))
    }
}

/// An image reference. Only what the API server checks is checked here.
pub(crate) fn image(text: &str) -> Result<String, String> {
    let text = non_empty(text)?;
    if text.contains(char::is_whitespace) {
        return Err(format!("invalid image {text:?}: expected a name without spaces, such as registry/name:tag"));
    }
    Ok(text)
}

/// A pattern for images that pods may choose: an image, or the start of one with a `*`.
pub(super) fn image_pattern(text: &str) -> Result<String, String> {
    let start = start_of_pattern(text, &['/', ':', '@'])?;
    image(start.unwrap_or(text)).map(|_| text.to_owned())
}

/// A pattern for push URLs that pods may choose: a URL, or the start of one, including the host, with a `*`.
pub(super) fn url_pattern(text: &str) -> Result<String, String> {
    match start_of_pattern(text, &['/', ':'])? {
        None => url(text),
        // A `*` may stand for the port or for the path.
        Some(start) => {
            url(&format!("{}/", start.trim_end_matches([':', '/']))).map(|_| text.to_owned()).map_err(|_no_url| {
                format!(
                    "invalid pattern {text:?}: expected a scheme and a host before the *, such as \
                 https://loki.example.com/*"
                )
            })
        }
    }
}

/// The text before the `*` at the end of a pattern; `None` without a `*`.
///
/// A `*` is valid only after one of `ends`. After a letter, it would also match longer names: `https://loki.example.com*`
/// would match `https://loki.example.com.evil/`, which would then get the token.
fn start_of_pattern<'a>(text: &'a str, ends: &[char]) -> Result<Option<&'a str>, String> {
    match text.split_once('*') {
        None => Ok(None),
        Some((start, "")) if start.ends_with(ends) => Ok(Some(start)),
        Some(_) => {
            let ends: Vec<_> = ends.iter().map(char::to_string).collect();
            Err(format!("invalid pattern {text:?}: expected a * only at the end, after {}", ends.join(" or ")))
        }
    }
}

/// Whether one of `allowed` matches `given`. A `*` at the end of a pattern matches any rest.
pub(crate) fn is_allowed(given: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => given.starts_with(start),
        None => given == pattern,
    })
}

/// How long a sidecar may delay the deletion of its pod.
pub(crate) fn drain_timeout(text: &str) -> Result<String, String> {
    let parsed = text.parse::<SignedDuration>().ok();
    if parsed.is_some_and(|timeout| !timeout.is_negative() && timeout <= LONGEST_DRAIN) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid drain timeout {text:?}: expected a duration of at most 10m, such as 5s"))
    }
}

/// The name of a Secret.
pub(super) fn secret(text: &str) -> Result<String, String> {
    if is_domain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid Secret name {text:?}: expected lowercase letters, digits, - and ., such as registry-login"
        ))
    }
}

/// A full push URL. With any other, no shipper could push.
pub(crate) fn url(text: &str) -> Result<String, String> {
    let url = text.replace(TENANT_PLACEHOLDER, "tenant").parse::<Uri>().ok();
    let is_full = |url: &Uri| {
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && !has_user
    };
    if url.as_ref().is_some_and(is_full) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid URL {text:?}: expected a full push URL without a user, such as https://loki:3100/loki/api/v1/push"
        ))
    }
}

/// A tenant becomes a segment of the URL's path, where `.` and `..` would lead to another path.
pub(crate) fn tenant(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good && !matches!(text, "." | "..") {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid tenant {text:?}: expected letters, digits, -, _ and ., but not . or .. alone"))
    }
}

/// A glob pattern. The shipper separates patterns by commas.
pub(crate) fn glob(text: &str) -> Result<String, String> {
    let is_glob = !text.contains(',') && GlobBuilder::new(text).literal_separator(true).build().is_ok();
    if is_glob && !text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid pattern {text:?}: expected a glob pattern without a comma, such as redis-*.log"))
    }
}

/// A redaction rule.
pub(crate) fn redaction_rule(text: &str) -> Result<String, String> {
    patterns::rule(text).map(|_rule| text.trim().to_owned()).map_err(|error| error.to_string())
}

/// A drop rule.
pub(crate) fn drop_rule(text: &str) -> Result<String, String> {
    DropRule::parse(text).map(|rule| rule.text).map_err(|error| error.to_string())
}

/// A time zone. On a machine without a time zone database, every plausible name is valid.
pub(crate) fn zone(text: &str) -> Result<String, String> {
    let looks_good =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    let known = || TimeZone::get(text).is_ok() || jiff::tz::db().is_definitively_empty();
    if looks_good && known() {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid time zone {text:?}: expected an IANA name, such as UTC or Europe/Berlin"))
    }
}

pub(super) fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value of a stream label. The shipper separates labels by commas.
pub(super) fn label_value(text: &str) -> Result<String, String> {
    if text.contains(|c: char| c == ',' || c.is_control()) {
        Err(format!("invalid label value {text:?}: expected no comma and no control character"))
    } else {
        Ok(text.to_owned())
    }
}

/// A field of a pod, in the syntax of the downward API.
pub(super) fn field(text: &str) -> Result<String, String> {
    let label = text.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
    if FIELDS.contains(&text) || label.is_some_and(|label| qualified_name(label).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid field {text:?}: expected one of {}, or metadata.labels['KEY']", FIELDS.join(", ")))
    }
}

/// A label key: a name, optionally after a domain and a slash.
pub(super) fn qualified_name(text: &str) -> Result<String, String> {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    if is_name(name, 63, b"-_.") && domain.is_none_or(is_domain) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid label key {text:?}: expected a key such as redis.io/cluster"))
    }
}

pub(super) fn config_map(text: &str) -> Result<String, String> {
    if is_domain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid ConfigMap name {text:?}: expected a name such as kube-root-ca.crt"))
    }
}

/// The name of a ConfigMap, or `none`.
pub(super) fn config_map_or_none(text: &str) -> Result<Option<String>, String> {
    if text == "none" { Ok(None) } else { config_map(text).map(Some) }
}

/// A ConfigMap key that can be a file name beside `token`, `namespace` and `shipper.yaml`.
pub(super) fn config_map_key(text: &str) -> Result<String, String> {
    let good = (1..=253).contains(&text.len())
        && !text.starts_with("..")
        && !["token", "namespace", "shipper.yaml", "."].contains(&text)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid ConfigMap key {text:?}: expected a file name such as ca.crt, but not token, namespace or shipper.yaml"
        ))
    }
}

fn is_domain(text: &str) -> bool {
    is_name(text, 253, b"-.") && !text.contains("..") && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Letters and digits; the bytes of `inside` are allowed between them.
fn is_name(text: &str, longest: usize, inside: &[u8]) -> bool {
    let ends_well = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= longest
        && ends_well(text.bytes().next())
        && ends_well(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || inside.contains(&byte))
}
