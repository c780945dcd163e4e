//! The level of an entry: one table of words, and where each format writes them.
//!
//! A level depends on the text alone, so a resend has the same level.

use super::fields::{self, Value};

/// The levels that Loki and Grafana know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the six levels need no words")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    /// All levels, in order.
    pub const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical];

    /// Its name in Loki.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Every word for a level, the most frequent first, as [`key`] packs it.
const WORDS: [(u64, Level); 24] = [
    (key(b"INFO"), Level::Info),
    (key(b"INF"), Level::Info),
    (key(b"WARNING"), Level::Warn),
    (key(b"WARN"), Level::Warn),
    (key(b"WRN"), Level::Warn),
    (key(b"ERROR"), Level::Error),
    (key(b"ERR"), Level::Error),
    (key(b"ERRO"), Level::Error),
    (key(b"DEBUG"), Level::Debug),
    (key(b"DBG"), Level::Debug),
    (key(b"DEBG"), Level::Debug),
    (key(b"NOTICE"), Level::Info),
    (key(b"NTC"), Level::Info),
    (key(b"CRITICAL"), Level::Critical),
    (key(b"CRIT"), Level::Critical),
    (key(b"CRT"), Level::Critical),
    (key(b"FATAL"), Level::Critical),
    (key(b"FTL"), Level::Critical),
    (key(b"PANIC"), Level::Critical),
    (key(b"EMERG"), Level::Critical),
    (key(b"TRACE"), Level::Trace),
    (key(b"TRC"), Level::Trace),
    (key(b"TRAC"), Level::Trace),
    (key(b"BLAT"), Level::Trace),
];

/// An uppercase word of at most eight letters as one number.
const fn key(mut word: &[u8]) -> u64 {
    let mut key = 0;
    while let [letter, rest @ ..] = word {
        key = key << 8 | *letter as u64;
        word = rest;
    }
    key
}

/// For formats without a level.
pub(super) fn unknown(_text: &[u8]) -> Option<Level> {
    None
}

/// `[N) ]DATE TIME `, and then `LEVEL`, `[LEVEL]`, `[THREAD] LEVEL`, `- LEVEL -` or `- NAME - LEVEL -`: dmcproxy, Python,
/// supervisord, the event log, the syncer, Go and Rust programs. A `T` may stand between date and time, a tab before the level.
pub(super) fn stamped(text: &[u8]) -> Option<Level> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.get(digits..)?.strip_prefix(b") ").unwrap_or(text);
    let (_date, time) = text.split_at_checked(11)?;
    let rest = time.get(time.iter().position(|byte| matches!(byte, b' ' | b'\t'))?..)?.trim_ascii_start();
    if let Some(bracketed) = rest.strip_prefix(b"[") {
        return word(bracketed).or_else(|| word(after(rest, b' ')?));
    }
    if let Some(dashed) = rest.strip_prefix(b"- ") {
        return word(dashed).or_else(|| word(after(dashed, b' ')?.strip_prefix(b"- ")?));
    }
    word(rest)
}

/// `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL `, with a sign for the level.
pub(super) fn redis(text: &[u8]) -> Option<Level> {
    let (_role, rest) = after(text, b':')?.split_first_chunk::<2>()?;
    let (_time, rest) = rest.split_first_chunk::<24>()?;
    match rest.split_first_chunk::<3>()?.0 {
        b" . " => Some(Level::Debug),
        b" - " | b" * " => Some(Level::Info),
        b" # " => Some(Level::Warn),
        _ => None,
    }
}

/// `[TIME][THREAD][LEVEL]`: Envoy's own log.
pub(super) fn bracketed(text: &[u8]) -> Option<Level> {
    let rest = after(text, b']')?.strip_prefix(b"[")?;
    word(after(rest, b']')?.strip_prefix(b"[")?)
}

/// `LMMDD `, with the first letter of the level.
pub(super) fn glog(text: &[u8]) -> Option<Level> {
    match text.first()? {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Critical),
        _ => None,
    }
}

/// `level=LEVEL` among other fields.
pub(super) fn logfmt(text: &[u8]) -> Option<Level> {
    in_fields(fields::logfmt(text))
}

/// `"level":"LEVEL"` among other fields.
pub(super) fn json(text: &[u8]) -> Option<Level> {
    in_fields(fields::json(text))
}

fn in_fields<'a>(mut fields: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Option<Level> {
    let is_level = |key: &[u8]| matches!(key, b"level" | b"lvl" | b"severity" | b"levelname" | b"log.level");
    match fields.find(|(key, _)| is_level(key))?.1 {
        // Programs for Node.js number the levels.
        Value::Bare(b"10") => Some(Level::Trace),
        Value::Bare(b"20") => Some(Level::Debug),
        Value::Bare(b"30") => Some(Level::Info),
        Value::Bare(b"40") => Some(Level::Warn),
        Value::Bare(b"50") => Some(Level::Error),
        Value::Bare(b"60") => Some(Level::Critical),
        Value::String(text) | Value::Bare(text) => word(text),
        Value::Nested => None,
    }
}

/// The rest after the first `end`.
fn after(text: &[u8], end: u8) -> Option<&[u8]> {
    text.get(memchr::memchr(end, text)? + 1..)
}

/// The level at the start of `text`, if it is a separate word.
fn word(text: &[u8]) -> Option<Level> {
    let (mut letters, mut found) = (0, 0);
    for letter in text.iter().take(9).take_while(|byte| byte.is_ascii_alphabetic()) {
        letters += 1;
        found = found << 8 | u64::from(letter.to_ascii_uppercase());
    }
    // No level has nine letters.
    WORDS.iter().find(|(word, _)| *word == found && letters < 9).map(|(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::formats::{Format, TimeReader};

    fn of(line: &[u8]) -> Option<Level> {
        TimeReader::new(TimeZone::UTC).read(line)?.format.level(line)
    }

    #[test]
    fn finds_the_level_where_each_program_puts_it() {
        for (line, level) in [
            ("5) 2026-02-20 22:38:55.420 [1644] WRN dmc.conn (handshake@tls_conn.cpp:187) - bdb:1", Level::Warn),
            ("2026-02-20 22:31:07.001 [1623] INF ifr.stats (listen@prometheus.cpp:346) - x", Level::Info),
            ("2026-02-20 22:33:10,512 WARN exited: pdns_server", Level::Warn),
            ("2026-02-20 22:33:10,512 BLAT x", Level::Trace),
            ("2026-02-20 22:32:39,601 INFO: === [bdb:1] STATEMACHINE [SMCreateBDB] STARTED ===", Level::Info),
            ("2026-02-20 22:34:03,188 ERROR cnm_http: Unhandled exception", Level::Error),
            ("2026-02-20 22:39:02 CRITICAL EventLog: {\"type\": \"failed\"}", Level::Critical),
            ("2026-02-20 22:40:05 - INFO - connected to source", Level::Info),
            ("2026/02/20 22:31:02.118 INFO sentinel_service listening on :8001", Level::Info),
            ("2026-02-20T22:31:03.500512Z  INFO heartbeatd::gossip: sent", Level::Info),
            ("[2026-02-20 22:30:49.118][1544][info][main] [source/server/server.cc:1037] x", Level::Info),
            ("ts=2026-02-20T22:30:50.412Z caller=main.go:297 level=info msg=\"x\"", Level::Info),
            ("time=\"2026-02-20T22:30:50Z\" level=warning msg=\"x\"", Level::Warn),
            ("3725842:M 20 Feb 2026 22:42:50.191 # Warning: Could not create server", Level::Warn),
            ("3725842:C 20 Feb 2026 22:31:12.044 * oO0OoO0OoO0Oo", Level::Info),
            ("612:S 20 Feb 2026 22:31:12.044 - DB 0: 1 keys", Level::Info),
            ("612:X 20 Feb 2026 22:31:12.044 . debug", Level::Debug),
        ] {
            assert_eq!(of(line.as_bytes()), Some(level), "{line}");
        }
    }

    #[test]
    fn has_no_level_for_a_line_without_one() {
        for line in [
            "",
            "Traceback (most recent call last):",
            "============================================================================",
            "terminate called after throwing an instance of 'std::system_error'",
            "3725842:signal-handler (1771627477) Received SIGTERM scheduling shutdown...",
            "[2026-02-20T22:32:39.415Z] \"POST /v1/bdbs HTTP/1.1\" 200 - 812 1734",
            "Feb 20 22:31:04 UDP server bound to 0.0.0.0:5353",
            "2026-02-20 22:31:04,902 INFORMATION is no level",
            "2026-02-20 22:31:04,902 UCRITICAL is no level",
            "2026-02-20 22:31:04,902 ",
            "2026-02-20",
            "12) ",
            "[",
            "time=",
        ] {
            assert_eq!(of(line.as_bytes()), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn takes_any_bytes(line in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            for format in Format::all() {
                let _ = format.level(&line);
            }
        }
    }
}
