//! Settings with a fixed set of values, and settings of both programs: the webhook checks a value, and the shipper
//! applies it.

use clap::ValueEnum;

/// Whether the shipper joins lines that belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Multiline {
    /// A line without a timestamp continues the line before it, in files in which some line has a timestamp.
    #[default]
    Auto,
    /// Every line is an entry.
    Off,
}

/// Whether the shipper replaces secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Redact {
    /// It replaces them before an entry leaves the process.
    #[default]
    On,
    /// It ships every line as it is.
    Off,
}

/// Parses a word. The error lists all known words.
pub fn parse<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_unknown| {
        let known: Vec<_> = T::value_variants().iter().map(|value| word(value)).collect();
        format!("invalid value {text:?}: expected one of {}", known.join(", "))
    })
}

/// The word for a value.
pub fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_word_and_lists_all_words_if_it_is_unknown() {
        assert_eq!(parse("off"), Ok(Multiline::Off));
        assert_eq!(word(&Multiline::Off), "off");
        assert_eq!(parse::<Multiline>("Off"), Err("invalid value \"Off\": expected one of auto, off".to_owned()));
    }
}
