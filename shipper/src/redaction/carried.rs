//! What one entry leaves open for the next entry of its file.
//!
//! It is part of the position record, so that after a crash the next entry is redacted in the same way. It contains no byte of
//! a secret.

use serde::{Deserialize, Serialize};

use super::rule::Rule;

/// What the previous entry leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Whether the line limit cut its line, so that a key may stand in its last bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Whether the cut line is a command line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub command: bool,
    /// The secret that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// A secret that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which rule found it.
    pub rule: Rule,
    /// How it ends.
    pub end: End,
}

/// How a secret ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this quote.
    Quote(Quote),
    /// With a space or tab, or where the next field begins.
    Word,
    /// With the line, or with the quote around the line.
    Line,
    /// With the `]` of a list.
    List,
    /// With the last `@` of a URL's authority, if there is one.
    Authority,
    /// With the first byte that is not base64.
    Base64,
    /// With the last line of a block. The number counts the latest lines that did not belong to it.
    Block(u8),
}

/// A quote as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The quote itself.
    pub mark: u8,
    /// The number of backslashes before it.
    pub escapes: u8,
    /// How it is encoded.
    pub form: Form,
}

/// How a quote is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As itself.
    Plain,
    /// `%22` or `%27`.
    Percent,
    /// `&quot;` or `&#39;`.
    Entity,
    /// `\u0022` or `\u0027`.
    Unicode,
}
