//! The database that an entry names.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Only this many bytes of an entry are searched: programs name the database near the beginning.
const SEARCHED: usize = 512;
/// The longest id.
pub(crate) const MAX_DIGITS: usize = 9;

static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("bdb"));

/// The id of the first database in `text`: `bdb:12`, or `bdbs/12` in a path of the REST API.
pub(crate) fn find(text: &[u8]) -> Option<&[u8]> {
    let searched = text.get(..SEARCHED).unwrap_or(text);
    let mut found = NAME.find_iter(searched);
    let id = found.find_map(|at| id(text, at))?;
    Some(id)
}

/// The id after the `bdb` at `at`, if both are separate words.
fn id(text: &[u8], at: usize) -> Option<&[u8]> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if text.get(..at)?.last().is_some_and(is_word) {
        return None;
    }
    let rest = text.get(at + 3..)?;
    let rest = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"s/"))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (id, after) = rest.split_at_checked(digits)?;
    ((1..=MAX_DIGITS).contains(&digits) && !after.first().is_some_and(is_word)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_database_where_programs_name_it() {
        for (text, expected) in [
            ("5) 2026-02-20 22:38:55.420 [1644] WRN dmc.conn (x.cpp:187) - bdb:1 TLS handshake failed", Some("1")),
            ("2026-02-20 22:32:39,601 INFO: === [bdb:17] STATEMACHINE [SMCreateBDB] STARTED ===", Some("17")),
            ("2026-02-20 22:32:39,835 INFO: SMCreateBDB: bdb:123456789[create_redis]: entering", Some("123456789")),
            ("[2026-02-20T22:32:39.415Z] \"PUT /v1/bdbs/3 HTTP/1.1\" 200", Some("3")),
            ("INFO EventLog: {\"type\": \"bdb_created\", \"object\": \"bdb:2\"}", Some("2")),
            ("copying bdb:1 to bdb:2", Some("1")),
            ("bdb:9", Some("9")),
            ("bdb_created bdb:", None),
            ("\"GET /v1/bdbs HTTP/1.1\"", None),
            ("crbdb:1 my_bdb:1 bdb:1x bdb:1234567890", None),
            ("", None),
        ] {
            assert_eq!(find(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn searches_the_beginning_only() {
        let long = |spaces: usize| format!("{}bdb:12", " ".repeat(spaces));
        assert_eq!(find(long(SEARCHED - 3).as_bytes()), Some(&b"12"[..]));
        assert_eq!(find(long(SEARCHED - 2).as_bytes()), None);
    }
}
