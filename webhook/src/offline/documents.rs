//! From text to objects and back: JSON values in a row, or YAML with one or more documents.

use serde_json::Value;

use super::yaml;

/// Why text cannot be parsed or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The text is neither JSON nor YAML.
    #[error("failed to parse {name}: {message}")]
    Parse {
        /// The file's name, or `standard input`.
        name: String,
        /// The error, with its position.
        message: String,
    },
    /// The object cannot be written.
    #[error("failed to write the object: {0}")]
    Write(String),
}

/// One object, with its text.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file's name, or `standard input`.
    pub source: String,
    /// The object; null for a document with only comments.
    pub object: Value,
    /// The text if it is YAML, including its `---`.
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
            // The text may be YAML with braces, or JSON between `---`. If it looks like JSON, the error is the JSON
            // parser's.
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

/// `object` as one YAML document with a newline at the end.
pub fn to_yaml(object: &Value) -> Result<String, DocumentError> {
    yaml::write(object).map_err(DocumentError::Write)
}

/// `object` as indented JSON with a newline at the end.
pub fn to_json(object: &Value) -> Result<String, DocumentError> {
    serde_json::to_string_pretty(object)
        .map(|text| text + "\n")
        .map_err(|error| DocumentError::Write(error.to_string()))
}
