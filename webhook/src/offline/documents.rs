//! Text to objects and back: JSON, or YAML of one or many documents.

use serde_json::Value;

/// Why a text holds no objects.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Neither JSON nor YAML.
    #[error("failed to parse {name}: {message}")]
    Parse {
        /// The file's name, or `standard input`.
        name: String,
        /// Where and what.
        message: String,
    },
    /// An object cannot be written.
    #[error("failed to write YAML: {0}")]
    Write(String),
}

/// The objects in `text`, in order. Empty documents are left out.
pub fn parse(name: &str, text: &str) -> Result<Vec<Value>, DocumentError> {
    let failed = |message: String| DocumentError::Parse { name: name.to_owned(), message };
    let documents = if text.trim_start().starts_with('{') {
        serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(error.to_string()))?
    } else {
        serde_saphyr::from_multiple::<Value>(text).map_err(|error| failed(error.to_string()))?
    };
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// `object` as one YAML document, ending in a newline.
pub fn to_yaml(object: &Value) -> Result<String, DocumentError> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = serde_saphyr::to_string_with_options(object, options)
        .map_err(|error| DocumentError::Write(error.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
