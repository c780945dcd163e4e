//! Removes secrets of the request from answers: the token, and the secrets in the URL.
//!
//! Some servers repeat the request in their error pages. The log and `/status` show a part of each answer, and their readers
//! may not be allowed to have the token. Secrets in log lines are the business of `redaction`, not of this module.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hyper::Uri;

/// The shortest part of a secret that is replaced. A shorter part is useless, and may occur by chance.
const PART: usize = 12;
/// The shortest secret that is replaced. A shorter secret looks like an ordinary word.
const SHORTEST: usize = 6;
/// The text that replaces a secret.
const REDACTED: &str = "[redacted]";

/// Returns `text` without any part of `secrets`, whether plain, percent-encoded or in base64.
pub(super) fn without<'a>(text: &str, secrets: impl Iterator<Item = &'a [u8]>) -> String {
    let forms: Vec<_> = secrets.filter(|secret| secret.len() >= SHORTEST).flat_map(forms).collect();
    let parts: HashSet<&[u8]> = forms.iter().flat_map(|form| form.windows(PART.min(form.len()))).collect();
    let shortest = forms.iter().map(|form| PART.min(form.len())).min().unwrap_or(usize::MAX);
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let len = secret_prefix(rest.as_bytes(), &parts, shortest);
        // The forms are ASCII, so a part ends at a character boundary.
        if len > 0 {
            kept.push_str(REDACTED);
            rest = rest.get(len..).unwrap_or_default();
        } else {
            kept.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    kept
}

/// How many bytes at the start of `text` are parts of secrets. Parts may overlap or be adjacent.
fn secret_prefix(text: &[u8], parts: &HashSet<&[u8]>, shortest: usize) -> usize {
    let (mut at, mut end) = (0, 0);
    while at <= end {
        let found = (shortest..=PART).rev().find(|len| text.get(at..at + len).is_some_and(|part| parts.contains(part)));
        end = found.map_or(end, |len| end.max(at + len));
        at += 1;
    }
    end
}

/// All encodings of a secret.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for upper in [true, false] {
        forms.push(percent_encoded(secret, upper));
    }
    for engine in [&STANDARD, &URL_SAFE] {
        // Base64 has three forms, depending on the number of bytes before the secret. The characters at both edges are left
        // out, because they depend on the neighbouring bytes.
        for before in 0..3 {
            let encoded = engine.encode([&vec![0; before], secret].concat());
            let whole = (before + secret.len()) / 3 * 4;
            forms
                .extend(encoded.as_bytes().get([0, 2, 3].get(before).copied().unwrap_or(0)..whole).map(<[u8]>::to_vec));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

fn percent_encoded(secret: &[u8], upper: bool) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in secret {
        if byte.is_ascii_alphanumeric() {
            encoded.push(*byte);
        } else {
            let hex = if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
            encoded.extend_from_slice(hex.as_bytes());
        }
    }
    encoded
}

/// The values of the query parameters of a URL.
pub(super) fn of_url(url: &Uri) -> impl Iterator<Item = &[u8]> {
    let pairs = url.query().unwrap_or_default().split('&');
    pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).as_bytes())
}

/// A URL without its user name and password, and without the values of its query.
pub(crate) fn shown_url(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)));
    let (scheme, rest) =
        url.split_once("://").map_or(("", url), |(_, rest)| (url.strip_suffix(rest).unwrap_or(""), rest));
    let path = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(path).unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut shown = format!("{scheme}{host}{path}");
    for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) => shown.extend([name, "=", REDACTED]),
            None => shown.push_str(REDACTED),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";

    fn redacted(text: &str) -> String {
        without(text, std::iter::once(TOKEN.as_bytes()))
    }

    #[test]
    fn removes_every_part_of_a_token() {
        for quoted in [
            TOKEN.to_owned(),
            TOKEN.replace('.', "%2E"),
            TOKEN.replace('.', "%2e"),
            format!("Bearer {TOKEN}"),
            TOKEN.chars().take(40).collect(),
            TOKEN.chars().skip(30).collect(),
        ] {
            let text = redacted(&format!("<pre>authorization: {quoted}\nhost: é</pre>"));
            assert!(text.contains(REDACTED) && text.contains("host: é</pre>"), "{text}");
            assert!(text.len() < 80, "{text}");
        }
        for before in ["", "B", "Be", "Bearer "] {
            let text = redacted(&STANDARD.encode(format!("{before}{TOKEN} and more")));
            assert!(text.starts_with(REDACTED) || text.find(REDACTED).is_some_and(|at| at < 16), "{text}");
            assert!(text.len() < 60, "{text}");
        }
    }

    #[test]
    fn keeps_all_other_text() {
        for text in ["", "entry too far behind", "eyJhbGci", "ж [redacted] 1234567890"] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(without("a one and a two", [&b"one"[..], b""].into_iter()), "a one and a two");
        assert_eq!(without("hunter22 and hunter2", std::iter::once(&b"hunter2"[..])), "[redacted]2 and [redacted]");
    }

    #[test]
    fn shows_a_url_without_its_secrets() {
        for (url, shown) in [
            ("https://loki:3100/loki/api/v1/push", "https://loki:3100/loki/api/v1/push"),
            (
                "https://me:secret@loki/push?key=secret&b=2&secret",
                "https://loki/push?key=[redacted]&b=[redacted]&[redacted]",
            ),
            ("me:secret@loki", "loki"),
            ("https://a b:sec/ret@loki", "https://a b:sec/ret@loki"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
