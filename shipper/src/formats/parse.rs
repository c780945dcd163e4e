//! The parsers the table of formats names. They look at a few dozen bytes and allocate nothing.

use super::Stamp;

/// `YYYY-MM-DD HH:MM:SS`, with `0` for a digit.
const SHAPE: &[u8; 19] = b"0000-00-00 00:00:00";

/// `[N) ]YYYY-MM-DD HH:MM:SS.mmm [`
pub(super) fn dmc(line: &[u8]) -> Option<Stamp> {
    let (second, rest) = second(numbered(line))?;
    let (nanos, rest) = millis(rest.strip_prefix(b".")?)?;
    rest.starts_with(b" [").then_some(Stamp { second, nanos })
}

/// `YYYY-MM-DD HH:MM:SS[,mmm] `
pub(super) fn python(line: &[u8]) -> Option<Stamp> {
    let (second, rest) = second(line)?;
    let (nanos, rest) = match rest.strip_prefix(b",") {
        Some(fraction) => millis(fraction)?,
        None => (0, rest),
    };
    rest.starts_with(b" ").then_some(Stamp { second, nanos })
}

/// Year, month, day, hour, minute, second.
pub(super) fn fields(second: &[u8; 19]) -> Option<[u16; 6]> {
    let number = |at: usize, digits: usize| {
        second
            .get(at..at + digits)?
            .iter()
            .try_fold(0_u16, |n, digit| Some(n * 10 + u16::from(digit.checked_sub(b'0')?)))
    };
    Some([number(0, 4)?, number(5, 2)?, number(8, 2)?, number(11, 2)?, number(14, 2)?, number(17, 2)?])
}

/// The line without the `12) ` that dmcproxy's logger puts first.
fn numbered(line: &[u8]) -> &[u8] {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match line.split_at_checked(digits) {
        Some((_, rest)) if digits > 0 => rest.strip_prefix(b") ").unwrap_or(line),
        _ => line,
    }
}

fn second(line: &[u8]) -> Option<([u8; 19], &[u8])> {
    let (second, rest) = line.split_first_chunk::<19>()?;
    let fits = second.iter().zip(SHAPE).all(
        |(byte, shape)| {
            if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape }
        },
    );
    fits.then_some((*second, rest))
}

fn millis(fraction: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = fraction.split_first_chunk::<3>()?;
    let millis =
        digits.iter().try_fold(0_u32, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u32::from(digit - b'0')))?;
    Some((millis * 1_000_000, rest))
}
