//! An error and its causes on one line, for structured logs, which would show the error without its causes.

use std::error::Error;

/// `error` and its causes. A cause that the text already contains is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some errors of other crates already contain their cause.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn names_every_cause_once() {
        let layers = ["failed to write", "refused: no space", "no space", "quota"];
        let error = layers.into_iter().rev().fold(None, |cause, text| Some(Box::new(Layer(text, cause))));
        assert_eq!(chain(&error.unwrap()), "failed to write: refused: no space: quota");
    }
}
