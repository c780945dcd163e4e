//! Names that Kubernetes allows. Anybody who reaches the port can send a review, so its names are checked before they are
//! logged, put into Events or put into the path of a request.

/// The longest name of an object.
const SUBDOMAIN_CHARS: usize = 253;
/// The longest name of a namespace.
pub(super) const LABEL_CHARS: usize = 63;

/// Whether `name` is a DNS label, as the name of a namespace must be.
pub fn is_label(name: &str) -> bool {
    name.len() <= LABEL_CHARS && is_part(name)
}

/// Whether `name` is a DNS subdomain, as the name of a pod must be.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN_CHARS && name.split('.').all(is_part)
}

/// Lower-case letters, digits and dashes, with no dash at either end. Kubernetes does not limit a part of a subdomain.
fn is_part(part: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-') && !part.ends_with('-')
}

/// The start of a name, which the API server completes.
pub(super) fn is_prefix(prefix: &str) -> bool {
    is_subdomain(prefix) || prefix.strip_suffix('-').is_some_and(|start| is_subdomain(&format!("{start}a")))
}

/// At most `most` characters of a string that somebody else chose.
pub fn cut(text: &str, most: usize) -> String {
    text.char_indices()
        .nth(most)
        .map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_names_that_kubernetes_allows() {
        for name in ["a", "redis-0", "0", &"a".repeat(63)] {
            assert!(is_label(name) && is_subdomain(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "x/secrets?y=", "a_b", "a\n", "ä", &"a".repeat(254)] {
            assert!(!is_label(name) && !is_subdomain(name), "{name}");
        }
        assert!(is_subdomain("a.b-c.0") && !is_label("a.b"));
        assert!(!is_subdomain("a..b") && !is_subdomain(".a") && !is_label(&"a".repeat(64)));
        assert!(is_prefix("redis-") && is_prefix("redis") && !is_prefix("redis--/") && !is_prefix(&"a-".repeat(200)));
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!((cut("äöü", 3).as_str(), cut("äöü", 2).as_str(), cut("", 0).as_str()), ("äöü", "äö…", ""));
    }
}
