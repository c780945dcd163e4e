//! A sentence for the user who created a pod, with the code of its finding where it has one.

use std::fmt;
use std::ops::Deref;

use findings::Code;
use serde::{Serialize, Serializer};

/// A warning. It reads as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The finding that it is, if any.
    pub code: Option<Code>,
    text: String,
}

impl Warning {
    /// A warning that is a finding, if `code` says so.
    pub(crate) fn new(code: Option<Code>, text: String) -> Self {
        Self { code, text }
    }

    /// The text with the code behind it, for people.
    pub fn with_code(&self) -> String {
        self.code.map_or_else(|| self.text.clone(), |code| format!("{} ({code})", self.text))
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Self {
        Self { code: None, text }
    }
}

impl From<&str> for Warning {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Warning {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
