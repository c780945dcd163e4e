//! Kubernetes quantities, as far as resources need them.

use std::cmp::Ordering;

/// A positive amount such as `500m`, `1Gi` or `1e3`. Its text is kept as written.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    /// The amount in thousandths of the unit.
    millis: u128,
}

/// The factor of each suffix, in thousandths.
const SUFFIXES: [(&str, u128); 14] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

impl Quantity {
    /// Parses a quantity above zero.
    pub fn parse(text: &str) -> Result<Self, String> {
        let millis = millis(text).filter(|millis| *millis > 0);
        let millis = millis
            .ok_or_else(|| format!("invalid amount {text:?}: expected a quantity above zero, such as 100m or 64Mi"))?;
        Ok(Self { text: text.to_owned(), millis })
    }

    /// This amount minus `other`; `None` if nothing is left.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let millis = self.millis.checked_sub(other.millis).filter(|millis| *millis > 0)?;
        let text = if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") };
        Some(Self { text, millis })
    }

    /// The amount in thousandths of the unit.
    pub fn millis(&self) -> u128 {
        self.millis
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let millis = self.millis.saturating_add(other.millis);
        Self { text: format!("{millis}m"), millis }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.millis == other.millis
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.millis.cmp(&other.millis)
    }
}

fn millis(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i32>().ok());
    let unit = match exponent {
        Some(exponent) if (-3..=18).contains(&exponent) => 10_u128.pow(u32::try_from(exponent + 3).ok()?),
        Some(_) => return None,
        None => SUFFIXES.iter().find(|(known, _)| *known == suffix)?.1,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction_unit = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    Some(digits.checked_mul(unit)?.div_ceil(fraction_unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_to_write_an_amount() {
        for (text, expected) in [
            ("500m", 500),
            ("1", 1000),
            ("0.5", 500),
            ("1Ki", 1_024_000),
            ("1k", 1_000_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().millis, expected, "{text}");
        }
    }

    #[test]
    fn refuses_amounts_that_are_not_above_zero() {
        for text in ["", "0", "-1", "0m", "1X", "m", "1.2.3", "1e99", "one", " 1"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compares_amounts_not_texts() {
        assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
        assert_eq!(Quantity::parse("1000m").unwrap(), Quantity::parse("1").unwrap());
    }
}
