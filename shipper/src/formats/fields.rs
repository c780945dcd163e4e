//! Lines with named fields: `key=value` pairs and JSON objects.
//!
//! Both iterators yield only complete fields, in the order of the line, and stop at the first incomplete or malformed field. So a
//! partial line yields the same fields as the whole line, or fewer.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string, without its quotes and with its escapes.
    String(&'a [u8]),
    /// A number, a boolean, or a word without quotes.
    Bare(&'a [u8]),
    /// A JSON object or array.
    Nested,
}

/// The fields of `key=value key="value"`.
pub(super) fn logfmt(line: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (key, after) = split_at(rest, |byte| byte == b'=')?;
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@');
        if key.is_empty() || !key.iter().all(is_key) {
            return None;
        }
        let (value, after) = if let Some(text) = after.strip_prefix(b"\"") {
            string(text).map(|(text, after)| (Value::String(text), after))?
        } else {
            let (word, _) = split_at(after, |byte| byte == b' ')?;
            (Value::Bare(word), after.get(word.len()..))
        };
        rest = after?.trim_ascii_start();
        Some((key, value))
    })
}

/// The fields of a JSON object, without the fields of inner objects.
pub(super) fn json(line: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let mut rest = line.strip_prefix(b"{");
    std::iter::from_fn(move || {
        let text = rest?.trim_ascii_start();
        let (key, after) = string(text.strip_prefix(b"\"")?)?;
        let text = after?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, after) = match text.first()? {
            b'"' => string(text.get(1..)?).map(|(text, after)| (Value::String(text), after))?,
            b'{' | b'[' => (Value::Nested, Some(after_nested(text)?)),
            _ => {
                let (word, _) = split_at(text, |byte| matches!(byte, b',' | b'}' | b' ' | b'\t'))?;
                (Value::Bare(word), text.get(word.len()..))
            }
        };
        // The value is complete only if another byte follows: a number might go on.
        let after = after?.trim_ascii_start();
        rest = match after.first()? {
            b',' => after.get(1..),
            _ => None,
        };
        Some((key, value))
    })
}

/// The bytes before and after the first byte that `ends` accepts.
fn split_at(text: &[u8], ends: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| ends(*byte))?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A string up to its closing quote, and the rest after the quote.
fn string(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, text.get(at + 1..)));
        }
        at += 2;
    }
}

/// The rest after the object or array at the start of `text`.
fn after_nested(text: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut rest) = (0_usize, text);
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => rest = string(rest)?.1?,
            _ => {}
        }
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(fields: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Vec<String> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        fields
            .map(|(key, value)| match value {
                Value::String(value) => format!("{}={:?}", text(key), text(value)),
                Value::Bare(value) => format!("{}={}", text(key), text(value)),
                Value::Nested => format!("{}={{}}", text(key)),
            })
            .collect()
    }

    #[test]
    fn reads_pairs_up_to_the_first_word_that_is_none() {
        let line = br#"ts=2026 level=info msg="a \"b\" c=d" error= done x"#;
        assert_eq!(read(logfmt(line)), ["ts=2026", "level=info", r#"msg="a \\\"b\\\" c=d""#, "error="]);
        assert!(read(logfmt(b"Traceback (most recent call last): a=b ")).is_empty());
        assert!(read(logfmt(b"a=b")).is_empty(), "the value may go on");
    }

    #[test]
    fn reads_the_outer_fields_of_an_object() {
        let line = br#"{"a": {"time": "}"}, "b":[1,"]"], "c": 1.5 ,"d":"x\"y","e":true}"#;
        assert_eq!(read(json(line)), ["a={}", "b={}", "c=1.5", r#"d="x\\\"y""#, "e=true"]);
        assert!(read(json(b"[1, 2]")).is_empty());
        assert!(read(json(br#"{"a":1"#)).is_empty(), "the number may go on");
    }

    proptest::proptest! {
        #[test]
        fn beginnings_yield_the_same_fields_or_fewer(line in r#"\{?[a=" \\,:\{\}\[\]1]{0,40}"#, cut in 0..40_usize) {
            let (line, beginning) = (line.as_bytes(), &line.as_bytes()[..cut.min(line.len())]);
            for (whole, part) in [(read(json(line)), read(json(beginning))), (read(logfmt(line)), read(logfmt(beginning)))] {
                proptest::prop_assert_eq!(&whole[..part.len()], &part[..]);
            }
        }
    }
}
