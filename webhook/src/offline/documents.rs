//! Text to objects and back: JSON values one after the other, or YAML of one or many documents.

use serde_json::Value;

use super::yaml;

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
    #[error("failed to write the object: {0}")]
    Write(String),
}

/// One object, with the text it was read from.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file's name, or `standard input`.
    pub source: String,
    /// The object; null for a document that holds nothing but comments.
    pub object: Value,
    /// How it was written, where that was YAML; `---` included.
    pub text: Option<String>,
}

/// The documents in `text`, in order.
pub fn parse(name: &str, text: &str) -> Result<Vec<Document>, DocumentError> {
    let text = text.trim_start_matches('\u{feff}');
    let failed = |message: String| DocumentError::Parse { name: name.to_owned(), message };
    let document = |object, text| Document { source: name.to_owned(), object, text };
    let segments = yaml::segments(text);
    if text.trim_start().starts_with(['{', '[']) {
        match serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<Value>, _>>() {
            Ok(objects) => return Ok(objects.into_iter().map(|object| document(object, None)).collect()),
            // YAML in braces, or JSON between `---`; the error is JSON's where the text looks like it.
            Err(error) if segments.len() == 1 => {
                let only = segments.into_iter().next().map(|segment| (yaml::read(segment), segment.text));
                return match only {
                    Some((Ok(object), text)) => Ok(vec![document(object, Some(text.to_owned()))]),
                    _ => Err(failed(error.to_string())),
                };
            }
            Err(_) => {}
        }
    }
    let read = |segment: yaml::Segment<'_>| {
        yaml::read(segment).map(|object| document(object, Some(segment.text.to_owned()))).map_err(failed)
    };
    segments.into_iter().map(read).collect()
}

/// `object` as one YAML document, ending in a newline.
pub fn to_yaml(object: &Value) -> Result<String, DocumentError> {
    yaml::write(object).map_err(DocumentError::Write)
}

/// `object` as indented JSON, ending in a newline.
pub fn to_json(object: &Value) -> Result<String, DocumentError> {
    serde_json::to_string_pretty(object)
        .map(|text| text + "\n")
        .map_err(|error| DocumentError::Write(error.to_string()))
}
