//! The parsers the table of formats names. They look at a few dozen bytes and allocate nothing.

use super::{At, Stamp};

/// The months as Redis writes them.
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// `[N) ]YYYY-MM-DD HH:MM:SS.mmm [`
pub(super) fn dmc(line: &[u8]) -> Option<Stamp> {
    let (digits, rest) = digits(numbered(line), b"0000-00-00 00:00:00")?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(digits, nanos, rest.starts_with(b" ["))
}

/// `YYYY-MM-DD HH:MM:SS[,mmm] `
pub(super) fn python(line: &[u8]) -> Option<Stamp> {
    let (digits, rest) = digits(line, b"0000-00-00 00:00:00")?;
    let (nanos, rest) = optional_fraction(rest, b',')?;
    local(digits, nanos, rest.starts_with(b" "))
}

/// `PID:R DD Mon YYYY HH:MM:SS.mmm `, where `R` is the role
pub(super) fn redis(line: &[u8]) -> Option<Stamp> {
    let ([b'X' | b'C' | b'S' | b'M', b' '], rest) = process(line)?.split_first_chunk::<2>()? else { return None };
    let (date, rest) = rest.split_first_chunk::<20>()?;
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', time @ ..] = date else { return None };
    let month = (1..).zip(MONTHS).find(|(_, name)| **name == [*m1, *m2, *m3])?.0;
    let [h1, h2, _, n1, n2, _, s1, s2] = time;
    let (ten, one) = (b'0' + month / 10, b'0' + month % 10);
    let iso = [*y1, *y2, *y3, *y4, b'-', ten, one, b'-', *d1, *d2, b' ', *h1, *h2, b':', *n1, *n2, b':', *s1, *s2];
    let (iso, _) = digits(&iso, b"0000-00-00 00:00:00")?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(iso, nanos, rest.starts_with(b" "))
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
    let (digits, rest) = digits(line.strip_prefix(b"[")?, b"0000-00-00 00:00:00")?;
    let (nanos, rest) = fraction(rest.strip_prefix(b".")?)?;
    local(digits, nanos, rest.starts_with(b"]["))
}

/// `ts=TIME ` or `time=TIME `, quoted or not
pub(super) fn logfmt(line: &[u8]) -> Option<Stamp> {
    let value = line.strip_prefix(b"ts=").or_else(|| line.strip_prefix(b"time="))?;
    let quoted = value.strip_prefix(b"\"");
    let (stamp, rest) = rfc3339(quoted.unwrap_or(value))?;
    rest.starts_with(if quoted.is_some() { b"\" " } else { b" " }).then_some(stamp)
}

/// `YYYY/MM/DD HH:MM:SS[.f] `
pub(super) fn golog(line: &[u8]) -> Option<Stamp> {
    let (digits, rest) = digits(line, b"0000/00/00 00:00:00")?;
    let (nanos, rest) = optional_fraction(rest, b'.')?;
    local(digits, nanos, rest.starts_with(b" "))
}

/// `YYYY-MM-DDTHH:MM:SS[.f](Z|+hh:mm) `
pub(super) fn rfc3339_first(line: &[u8]) -> Option<Stamp> {
    let (stamp, rest) = rfc3339(line)?;
    rest.starts_with(b" ").then_some(stamp)
}

/// Year, month, day, hour, minute, second.
pub(super) fn fields(digits: &[u8; 19]) -> Option<[u16; 6]> {
    let number = |at: usize, length: usize| {
        digits
            .get(at..at + length)?
            .iter()
            .try_fold(0_u16, |n, digit| Some(n * 10 + u16::from(digit.checked_sub(b'0')?)))
    };
    Some([number(0, 4)?, number(5, 2)?, number(8, 2)?, number(11, 2)?, number(14, 2)?, number(17, 2)?])
}

fn local(digits: [u8; 19], nanos: u32, fits: bool) -> Option<Stamp> {
    fits.then_some(Stamp { at: At::Local(digits), nanos })
}

/// A time with its zone, and what follows it.
fn rfc3339(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let (digits, rest) = digits(text, b"0000-00-00T00:00:00")?;
    let (nanos, rest) = optional_fraction(rest, b'.')?;
    if let Some(rest) = rest.strip_prefix(b"Z") {
        return Some((Stamp { at: At::Offset(digits, 0), nanos }, rest));
    }
    let (&[sign, h1, h2, b':', m1, m2], rest) = rest.split_first_chunk::<6>()? else { return None };
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
    Some((Stamp { at: At::Offset(digits, east), nanos }, rest))
}

/// The line without the `12) ` that dmcproxy's logger puts first.
fn numbered(line: &[u8]) -> &[u8] {
    number(line).and_then(|(_, rest)| rest.strip_prefix(b") ")).unwrap_or(line)
}

/// What follows the `612:` that Redis puts first.
fn process(line: &[u8]) -> Option<&[u8]> {
    number(line)?.1.strip_prefix(b":")
}

/// A number of at most 18 digits, and what follows it.
fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let number = digits.iter().fold(0_i64, |n, digit| n.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    (1..19).contains(&length).then_some((number, rest))
}

/// The 19 bytes of a date and a time, where they have this shape, in which `0` stands for a digit.
fn digits<'a>(text: &'a [u8], shape: &[u8; 19]) -> Option<([u8; 19], &'a [u8])> {
    let (digits, rest) = text.split_first_chunk::<19>()?;
    let fits = digits
        .iter()
        .zip(shape)
        .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape });
    fits.then_some((*digits, rest))
}

fn optional_fraction(text: &[u8], point: u8) -> Option<(u32, &[u8])> {
    match text.split_first() {
        Some((first, text)) if *first == point => fraction(text),
        _ => Some((0, text)),
    }
}

/// One to nine digits of a second as nanoseconds, and what follows them: something, or there might be more digits.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let nanos = digits.iter().fold(0_u32, |n, digit| n.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    let missing = u32::try_from(9_usize.checked_sub(length)?).ok()?;
    (length > 0 && !rest.is_empty()).then_some((nanos * 10_u32.pow(missing), rest))
}
