//! The parsers of the table of formats. They read a few dozen bytes and allocate nothing.

use super::fields::{self, Value};
use super::stamp::{At, DateTime, Stamp};

/// The latest valid time: the year 2100.
const LATEST: i64 = 4_102_444_800;

/// The months as Redis writes them.
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `N) YYYY-MM-DD HH:MM:SS.mmm `, or without the number and with a `[` after it
pub(super) fn dmc(line: &[u8]) -> Option<Stamp> {
    let message = numbered(line);
    let (date_time, rest) = date_time(message)?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(date_time, nanos, rest.starts_with(b" [") || message.len() < line.len() && rest.starts_with(b" "))
}

/// `YYYY-MM-DD HH:MM:SS `, with `,mmm` or `.mmm` before the space; `T` may stand between date and time
pub(super) fn python(line: &[u8]) -> Option<Stamp> {
    let (date_time, rest) = date_time(line).or_else(|| date_t_time(line))?;
    match rest.split_first()? {
        (b',', rest) => {
            let (nanos, rest) = fraction(rest)?;
            local(date_time, nanos, rest.starts_with(b" "))
        }
        (b'.', rest) => {
            let (nanos, rest) = fraction(rest)?;
            local(date_time, nanos, rest.strip_prefix(b" ")?.first().is_some_and(|next| *next != b'['))
        }
        (next, _) => local(date_time, 0, *next == b' '),
    }
}

/// `PID:R DD Mon YYYY HH:MM:SS.mmm `, where `R` is the role
pub(super) fn redis(line: &[u8]) -> Option<Stamp> {
    let ([b'X' | b'C' | b'S' | b'M', b' '], rest) = process(line)?.split_first_chunk::<2>()? else { return None };
    let (date, rest) = rest.split_first_chunk::<20>()?;
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', time @ ..] = date else { return None };
    let [ten, one] = month([*m1, *m2, *m3])?;
    let [h1, h2, _, n1, n2, _, s1, s2] = time;
    let iso = [*y1, *y2, *y3, *y4, b'-', ten, one, b'-', *d1, *d2, b' ', *h1, *h2, b':', *n1, *n2, b':', *s1, *s2];
    let (date_time, _) = date_time(&iso)?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(date_time, nanos, rest.starts_with(b" "))
}

/// `PID:signal-handler (SECONDS) `
pub(super) fn redis_signal_handler(line: &[u8]) -> Option<Stamp> {
    let rest = process(line)?.strip_prefix(b"signal-handler (")?;
    let (seconds, rest) = number(rest)?;
    rest.starts_with(b") ").then_some(Stamp { at: At::Epoch(seconds), nanos: 0 })
}

/// `[YYYY-MM-DDTHH:MM:SS.mmmZ] `
pub(super) fn envoy_access(line: &[u8]) -> Option<Stamp> {
    let (stamp, rest) = rfc3339(line.strip_prefix(b"[")?)?;
    rest.starts_with(b"] ").then_some(stamp)
}

/// `[YYYY-MM-DD HH:MM:SS.mmm][`
pub(super) fn envoy(line: &[u8]) -> Option<Stamp> {
    let (date_time, rest) = date_time(line.strip_prefix(b"[")?)?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(date_time, nanos, rest.starts_with(b"]["))
}

/// `key=value ...` with a time in one of its fields
pub(super) fn logfmt(line: &[u8]) -> Option<Stamp> {
    in_fields(fields::logfmt(line))
}

/// `{"key": value, ...}` with a time in one of its fields
pub(super) fn json(line: &[u8]) -> Option<Stamp> {
    in_fields(fields::json(line))
}

/// `LMMDD HH:MM:SS.f `, where `L` is the level, without a year
pub(super) fn glog(line: &[u8]) -> Option<Stamp> {
    let ([b'I' | b'W' | b'E' | b'F', m1, m2, d1, d2, b' '], rest) = line.split_first_chunk::<6>()? else { return None };
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    yearless([*m1, *m2], [*d1, *d2], *clock, nanos, rest.starts_with(b" "))
}

/// `Mon DD HH:MM:SS `, the day padded with a space or a zero, without a year
pub(super) fn syslog(line: &[u8]) -> Option<Stamp> {
    let ([m1, m2, m3, b' ', d1, d2, b' '], rest) = line.split_first_chunk::<7>()? else { return None };
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    let ten = if *d1 == b' ' { b'0' } else { *d1 };
    yearless(month([*m1, *m2, *m3])?, [ten, *d2], *clock, 0, rest.starts_with(b" "))
}

/// `SECONDS[.f] `, counted from 1970
pub(super) fn epoch_first(line: &[u8]) -> Option<Stamp> {
    let (stamp, rest) = epoch(line)?;
    rest.starts_with(b" ").then_some(stamp)
}

/// `TIME,...`, quoted or not
pub(super) fn csv(line: &[u8]) -> Option<Stamp> {
    let quoted = line.strip_prefix(b"\"");
    let (stamp, rest) = any(quoted.unwrap_or(line))?;
    let rest = if quoted.is_some() { rest.strip_prefix(b"\"")? } else { rest };
    let rest = rest.strip_prefix(b",")?;
    // Python's logging writes milliseconds after a comma, and then a space.
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_python = matches!(stamp.at, At::Local(_)) && rest.get(digits).is_none_or(|next| digits > 0 && *next == b' ');
    (!is_python).then_some(stamp)
}

/// `YYYY/MM/DD HH:MM:SS[.f] `
pub(super) fn golog(line: &[u8]) -> Option<Stamp> {
    let (date_time, rest) = DateTime::split_from(line, b'/', b' ')?;
    let (nanos, rest) = optional_fraction(rest, b'.')?;
    local(date_time, nanos, rest.starts_with(b" "))
}

/// `YYYY-MM-DDTHH:MM:SS[.f](Z|+hh:mm)` and a space or a tab; a space may stand in place of the `T`
pub(super) fn rfc3339_first(line: &[u8]) -> Option<Stamp> {
    let (stamp, rest) = rfc3339(line)?;
    rest.first().is_some_and(|next| matches!(next, b' ' | b'\t')).then_some(stamp)
}

/// The process id in a line of Redis.
pub(super) fn redis_process(line: &[u8]) -> Option<i64> {
    number(line).filter(|(_, rest)| rest.starts_with(b":")).map(|(process, _)| process)
}

fn local(date_time: DateTime, nanos: u32, fits: bool) -> Option<Stamp> {
    fits.then_some(Stamp { at: At::Local(date_time), nanos })
}

/// The first field whose name and value are those of a timestamp.
fn in_fields<'a>(fields: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Option<Stamp> {
    let is_time = |key: &[u8]| matches!(key, b"ts" | b"time" | b"timestamp" | b"@timestamp" | b"asctime" | b"t");
    fields.filter(|(key, _)| is_time(key)).find_map(|(_, value)| {
        // The parsers accept a number only if another byte follows. This field is complete, so spaces follow it.
        let mut text = [b' '; 41];
        let (Value::String(value) | Value::Bare(value)) = value else { return None };
        text.get_mut(..value.len()).filter(|_| value.len() < 41)?.copy_from_slice(value);
        let (stamp, rest) = any(&text)?;
        (rest.len() == text.len() - value.len()).then_some(stamp)
    })
}

/// A time with or without zone, or seconds since 1970, and the rest.
fn any(text: &[u8]) -> Option<(Stamp, &[u8])> {
    rfc3339(text).or_else(|| epoch(text)).or_else(|| {
        let (date_time, rest) = date_time(text).or_else(|| date_t_time(text))?;
        let (nanos, after) = optional_fraction(rest, b'.')?;
        // A comma may also end the time.
        let (nanos, after) = match after.strip_prefix(b",").and_then(fraction) {
            Some((nanos, end)) if after.len() == rest.len() && end.starts_with(b" ") => (nanos, end),
            _ => (nanos, after),
        };
        Some((Stamp { at: At::Local(date_time), nanos }, after))
    })
}

/// A time with its zone, and the rest.
fn rfc3339(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let (date_time, rest) = date_t_time(text).or_else(|| date_time(text))?;
    let (nanos, rest) = match rest.split_first() {
        Some((b'.' | b',', rest)) => fraction(rest)?,
        _ => (0, rest),
    };
    if let Some(rest) = rest.strip_prefix(b"Z") {
        return Some((Stamp { at: At::Offset(date_time, 0), nanos }, rest));
    }
    let (&[sign, h1, h2], rest) = rest.split_first_chunk::<3>()?;
    let (&[m1, m2], rest) = rest.strip_prefix(b":").unwrap_or(rest).split_first_chunk::<2>()?;
    let two = |ten: u8, one: u8| {
        (ten.is_ascii_digit() && one.is_ascii_digit()).then(|| i32::from(ten - b'0') * 10 + i32::from(one - b'0'))
    };
    let (hours, minutes) = (two(h1, h2).filter(|hours| *hours < 24)?, two(m1, m2).filter(|minutes| *minutes < 60)?);
    let east = (hours * 60 + minutes) * 60;
    let east = match sign {
        b'+' => east,
        b'-' => -east,
        _ => return None,
    };
    Some((Stamp { at: At::Offset(date_time, east), nanos }, rest))
}

/// Seconds since 1970, with a fraction or in milli-, micro- or nanoseconds, and the rest.
fn epoch(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let length = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let (seconds, parts) = digits.split_at_checked(10)?;
    let (seconds, _) = number(seconds)?;
    let (nanos, rest) = match (parts.len(), rest.split_first()?) {
        (0, (b'.', rest)) => long_fraction(rest)?,
        (0, _) => (0, rest),
        (3 | 6 | 9, _) => (nanos(parts)?, rest),
        _ => return None,
    };
    let is_plausible = (1_000_000_000..=LATEST).contains(&seconds);
    is_plausible.then_some((Stamp { at: At::Epoch(seconds), nanos }, rest))
}

fn yearless(month: [u8; 2], day: [u8; 2], clock: [u8; 8], nanos: u32, fits: bool) -> Option<Stamp> {
    let ([m1, m2], [d1, d2], [h1, h2, _, n1, n2, _, s1, s2]) = (month, day, clock);
    // A leap year, so that every day is valid.
    let text = [b'2', b'0', b'0', b'0', b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, clock[2], n1, n2, clock[5], s1, s2];
    let (date_time, _) = date_time(&text)?;
    fits.then_some(Stamp { at: At::Yearless(date_time), nanos })
}

/// The two digits of a month with this three-letter name.
fn month(name: [u8; 3]) -> Option<[u8; 2]> {
    let month = (1..).zip(MONTHS).find(|(_, known)| **known == name)?.0;
    Some([b'0' + month / 10, b'0' + month % 10])
}

/// The line without the leading `12) ` of dmcproxy's logger.
fn numbered(line: &[u8]) -> &[u8] {
    number(line).and_then(|(_, rest)| rest.strip_prefix(b") ")).unwrap_or(line)
}

/// The rest after the leading `612:` of Redis.
fn process(line: &[u8]) -> Option<&[u8]> {
    number(line)?.1.strip_prefix(b":")
}

/// A number of at most 18 digits, and the rest.
fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let number = digits.iter().fold(0_i64, |n, digit| n.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    (1..19).contains(&length).then_some((number, rest))
}

/// `YYYY-MM-DD HH:MM:SS`, and the rest.
fn date_time(text: &[u8]) -> Option<(DateTime, &[u8])> {
    DateTime::split_from(text, b'-', b' ')
}

/// `YYYY-MM-DDTHH:MM:SS`, and the rest.
fn date_t_time(text: &[u8]) -> Option<(DateTime, &[u8])> {
    DateTime::split_from(text, b'-', b'T')
}

fn optional_fraction(text: &[u8], point: u8) -> Option<(u32, &[u8])> {
    match text.split_first() {
        Some((first, text)) if *first == point => fraction(text),
        _ => Some((0, text)),
    }
}

/// One to nine digits of a second as nanoseconds, and the rest. The rest must not be empty: more digits might follow.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    Some((nanos(digits)?, rest)).filter(|(_, rest)| !rest.is_empty())
}

/// The same for programs that print more than nine digits.
fn long_fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().take(32).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    Some((nanos(digits.get(..9).unwrap_or(digits))?, rest)).filter(|(_, rest)| !rest.is_empty())
}

fn nanos(digits: &[u8]) -> Option<u32> {
    let nanos = digits.iter().fold(0_u32, |n, digit| n.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    let missing = u32::try_from(9_usize.checked_sub(digits.len())?).ok()?;
    (!digits.is_empty()).then_some(nanos * 10_u32.pow(missing))
}
